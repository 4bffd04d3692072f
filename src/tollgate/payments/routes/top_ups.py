"""The routes of top-ups."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.infra import idempotency, web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId, TopUpId
from tollgate.kit.principal import Principal
from tollgate.payments.records import TopUpStatus
from tollgate.payments.schemas.payments import AskTopUp, TopUpView
from tollgate.payments.service import configured
from tollgate.payments.service import top_ups as service
from tollgate.payments.stripe_client import StripeClient

AnyRequest = Request[Any, Any, Any]


class TopUpsController(Controller):
    """Credit bought on a page at Stripe."""

    path = "/credits/top-ups"
    tags = ("Credits",)

    @post(
        summary="Buy credit: answers the page to pay on",
        opt={idempotency.ANSWERS_ONCE_ITSELF: True},
    )
    async def ask_top_up(
        self,
        data: JSONBody[AskTopUp],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        once: Injected[str | None],
        manager: Injected[Principal],
    ) -> One[TopUpView]:
        at, owner = configured.surroundings(database, stripe, clock), manager.organization_id
        asked = await service.ask(
            database,
            owner=owner,
            order=data.order(),
            by=manager.key_id,
            once=once,
            now=clock.now(),
        )
        if asked.status is TopUpStatus.OPENING:
            asked = await service.look_after(at, organization_id=owner, top_up_id=asked.id)
        return One(data=TopUpView.of(asked))

    @get(summary="The organization's top-ups, newest first")
    async def list_top_ups(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[TopUpView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_top_ups(
                session, organization_id=manager.organization_id, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=TopUpView.of, key=lambda top_up: top_up.id)

    @get("/{top_up_id:str}", summary="One top-up, as far as we know")
    async def get_top_up(
        self, top_up_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[TopUpView]:
        wanted = TopUpId(web.parse_id("tup", top_up_id))
        async with database.read() as session:
            top_up = await service.get(session, organization_id=manager.organization_id, top_up_id=wanted)
        return One(data=TopUpView.of(top_up))


class TopUpActsController(Controller):
    """What the operator does with top-ups."""

    path = "/admin/organizations/{organization_id:str}/top-ups"
    tags = ("Credits",)

    @get(summary="Any organization's top-ups, newest first")
    async def list_any_top_ups(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[TopUpView]:
        asked, owner = web.query(request, Paging), OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            rows = await service.list_top_ups(
                session, organization_id=owner, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=TopUpView.of, key=lambda top_up: top_up.id)

    @post(
        "/{top_up_id:str}/check",
        status_code=200,
        summary="Ask Stripe again about a top-up, also one that is parked",
        opt={idempotency.ANSWERS_ONCE_ITSELF: True},
    )
    async def check_top_up(
        self,
        organization_id: FromPath[str],
        top_up_id: FromPath[str],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[TopUpView]:
        owner, wanted = OrganizationId(web.parse_id("org", organization_id)), TopUpId(web.parse_id("tup", top_up_id))
        at = configured.surroundings(database, stripe, clock)
        return One(data=TopUpView.of(await service.look_after(at, organization_id=owner, top_up_id=wanted)))
