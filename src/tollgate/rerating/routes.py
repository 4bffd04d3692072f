"""The operator's routes of re-rates: a dry run, what it found, and applying that."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.infra import web
from tollgate.infra.database import Database, ReadSession
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import RerateId
from tollgate.kit.principal import Principal
from tollgate.pricing.service import EndpointDirectory
from tollgate.rerating import service
from tollgate.rerating.model import Rerate
from tollgate.rerating.schemas import BeginRerate, RerateView, ResultView, Shown

AnyRequest = Request[Any, Any, Any]


class RerateController(Controller):
    """Corrected prices of the past."""

    path = "/admin/rerate"
    tags = ("Prices",)

    @get(summary="Re-rates, newest first")
    async def list_rerates(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[RerateView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_rerates(session, before=asked.before, count=asked.limit + 1)
            shown = [Shown(each, await service.tally(session, each.id), []) for each in rows]
        return web.page(shown, limit=asked.limit, show=RerateView.of, key=lambda each: each.rerate.id)

    @post(status_code=202, summary="Begin a dry run: what past calls would have cost at corrected prices")
    async def begin_rerate(
        self,
        data: JSONBody[BeginRerate],
        database: Injected[Database],
        endpoints: Injected[EndpointDirectory],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[RerateView]:
        now = clock.now()
        async with database.write() as session:
            endpoint = await endpoints(session, model=data.model, provider=data.provider)
            terms = data.terms(endpoint, now=now)
            rerate = await service.begin(session, terms=terms, by=operator.key_id, now=now)
            return One(data=RerateView.of(await _shown(session, rerate, clock)))

    @get("/{rerate_id:str}", summary="How far a re-rate has come, and what it comes to")
    async def get_rerate(
        self,
        rerate_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[RerateView]:
        wanted = RerateId(web.parse_id("rerate", rerate_id))
        async with database.read() as session:
            return One(data=RerateView.of(await _shown(session, await service.get(session, wanted), clock)))

    @get("/{rerate_id:str}/organizations", summary="What a re-rate changes, organization by organization")
    async def list_results(
        self,
        request: AnyRequest,
        rerate_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ResultView]:
        asked, wanted = web.query(request, Paging), RerateId(web.parse_id("rerate", rerate_id))
        async with database.read() as session:
            await service.get(session, wanted)
            rows = await service.results(session, wanted, after=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=ResultView.of, key=lambda told: told.result.organization_id)

    @post("/{rerate_id:str}/apply", status_code=202, summary="Post what a dry run found as adjustments")
    async def apply_rerate(
        self,
        rerate_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[RerateView]:
        wanted = RerateId(web.parse_id("rerate", rerate_id))
        async with database.write() as session:
            rerate = await service.apply(session, rerate_id=wanted, by=operator.key_id, now=clock.now())
            return One(data=RerateView.of(await _shown(session, rerate, clock)))


async def _shown(session: ReadSession, rerate: Rerate, clock: Clock) -> Shown:
    tally = await service.tally(session, rerate.id)
    return Shown(rerate, tally, await service.warnings(session, rerate.terms, now=clock.now()))


HANDLERS = (RerateController,)
