"""The routes of single calls."""

from typing import Any

from litestar import Controller, Request, get

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page
from tollgate.kit.errors import PermissionDenied
from tollgate.kit.ids import CallId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.reports.schemas.calls import CallsParameters, GenerationParameters, GenerationView
from tollgate.reports.service import calls as service

AnyRequest = Request[Any, Any, Any]


class CallsController(Controller):
    """Recorded calls, readable the moment their answer ended."""

    tags = ("Usage",)

    @get("/calls", summary="The organization's calls, newest first")
    async def list_calls(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[GenerationView]:
        asked = web.query(request, CallsParameters)
        async with database.read() as session:
            calls = await service.list_calls(
                session,
                asked=asked.asked(),
                wanted=asked.wanted(manager.organization_id),
                before=asked.before,
                count=asked.limit + 1,
            )
        return web.page(calls, limit=asked.limit, show=GenerationView.of, key=lambda told: told.call.id)

    @get("/generation", summary="One call: an inference key sees its own, a management key its organization's")
    async def generation(
        self, request: AnyRequest, database: Injected[Database], caller: Injected[Principal]
    ) -> One[GenerationView]:
        if caller.kind is KeyKind.OPERATOR:
            raise PermissionDenied("Calls are their organization's: use an inference or a management key.")
        asked = web.query(request, GenerationParameters)
        async with database.read() as session:
            found = await service.generation(
                session,
                organization_id=caller.organization_id,
                call_id=CallId(web.parse_id("gen", asked.id, field="id")),
                key_id=caller.key_id if caller.kind is KeyKind.INFERENCE else None,
            )
        return One(data=GenerationView.of(found))
