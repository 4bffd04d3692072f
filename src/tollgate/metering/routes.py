"""The operator's routes of money: what organizations are given or charged beside calls."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.accounts import service as accounts
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import GrantId, OrganizationId
from tollgate.kit.principal import Principal
from tollgate.ledger import service as ledger
from tollgate.ledger.schemas import AdjustmentView, GrantView
from tollgate.metering.schemas import CreateAdjustment, CreateGrant, VoidGrant

AnyRequest = Request[Any, Any, Any]


class GrantsController(Controller):
    """The credit of any organization."""

    path = "/admin/organizations/{organization_id:str}/grants"
    tags = ("Organizations",)

    @get(summary="Every grant the organization ever had, newest first")
    async def list_grants(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[GrantView]:
        asked, owner = web.query(request, Paging), OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            await accounts.get_organization(session, owner)
            rows = await ledger.grants(session, organization_id=owner, before=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=GrantView.of, key=lambda grant: grant.id)

    @post(summary="Grant credit, or credit a top-up once by its reference")
    async def create_grant(
        self,
        organization_id: FromPath[str],
        data: JSONBody[CreateGrant],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[GrantView]:
        owner, now = OrganizationId(web.parse_id("org", organization_id)), clock.now()
        async with database.write() as session:
            terms = data.terms((await accounts.get_organization(session, owner)).currency)
            grant = await ledger.grant_credit(session, organization_id=owner, terms=terms, by=operator.key_id, now=now)
        return One(data=GrantView.of(grant))

    @post("/{grant_id:str}/void", status_code=200, summary="Take back what is left of a grant")
    async def void_grant(
        self,
        organization_id: FromPath[str],
        grant_id: FromPath[str],
        data: JSONBody[VoidGrant],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[GrantView]:
        wanted = OrganizationId(web.parse_id("org", organization_id)), GrantId(web.parse_id("grt", grant_id))
        async with database.write() as session:
            await accounts.get_organization(session, wanted[0])
            grant = await ledger.void_grant(
                session, grant=wanted, reason=data.reason, by=operator.key_id, now=clock.now()
            )
        return One(data=GrantView.of(grant))


class AdjustmentsController(Controller):
    """What the operator gave any organization, or charged it, beside its calls."""

    path = "/admin/organizations/{organization_id:str}/adjustments"
    tags = ("Organizations",)

    @get(summary="Every adjustment, newest first")
    async def list_adjustments(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[AdjustmentView]:
        asked, owner = web.query(request, Paging), OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            await accounts.get_organization(session, owner)
            rows = await ledger.adjustments(session, organization_id=owner, before=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=AdjustmentView.of, key=lambda adjustment: adjustment.id)

    @post(summary="Give something, or charge something, beside calls")
    async def create_adjustment(
        self,
        organization_id: FromPath[str],
        data: JSONBody[CreateAdjustment],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[AdjustmentView]:
        owner, now = OrganizationId(web.parse_id("org", organization_id)), clock.now()
        async with database.write() as session:
            order = data.order((await accounts.get_organization(session, owner)).currency)
            made = await ledger.adjust(session, organization_id=owner, order=order, by=operator.key_id, now=now)
        return One(data=AdjustmentView.of(made))


HANDLERS = (GrantsController, AdjustmentsController)
