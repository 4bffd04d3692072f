"""The operator's question what prices would change, asked before they are published."""

from litestar import Controller, post
from litestar.params import JSONBody

from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One
from tollgate.kit.clock import Clock
from tollgate.kit.principal import Principal
from tollgate.pricing.service import EndpointDirectory
from tollgate.reports import rules
from tollgate.reports.schemas.preview import PreviewPrice, PreviewView
from tollgate.reports.service import preview


class PreviewController(Controller):
    """What calls would have cost."""

    path = "/admin/prices/preview"
    tags = ("Prices",)

    @post(status_code=200, summary="What last month's calls would have cost at prices that are not published")
    async def preview_price(
        self,
        data: JSONBody[PreviewPrice],
        database: Injected[Database],
        endpoints: Injected[EndpointDirectory],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[PreviewView]:
        window = rules.previewed_month(data.month, now=clock.now())
        async with database.read() as session:
            endpoint = await endpoints(session, model=data.model, provider=data.provider)
            found = await preview.preview(session, data.draft(endpoint, now=clock.now()), window=window)
        return One(data=PreviewView.of(found))
