"""The route of usage reports."""

from typing import Any

from litestar import Controller, Request, Response, get

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.principal import Principal
from tollgate.reports.schemas.usage import UsageParameters, UsageView, usage_csv
from tollgate.reports.service import usage as service


class UsageController(Controller):
    """What the caller's organization used."""

    tags = ("Usage",)

    @get("/usage", summary="Usage by time, project, key, model, provider, kind, user and tag, in any mix")
    async def usage(
        self,
        request: Request[Any, Any, Any],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> Response[UsageView | str]:
        asked = web.query(request, UsageParameters)
        if asked.format == "parquet":
            raise InvalidRequest("Parquet is not offered yet; ask for json or csv.", field="format")
        async with database.read() as session:
            report = await service.report(
                session, organization_id=manager.organization_id, question=asked.question(), now=clock.now()
            )
        if asked.format == "csv":
            return Response(usage_csv(report), media_type="text/csv")
        return Response(UsageView.of(report))
