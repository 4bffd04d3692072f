"""The operator's routes of prices and of adjustments of them."""

from typing import Any

from litestar import Controller, Request, delete, get, post
from litestar.params import FromPath, JSONBody

from tollgate.infra import web
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page
from tollgate.kit.ids import PriceAdjustmentId, PriceVersionId
from tollgate.kit.principal import Principal
from tollgate.pricing import service
from tollgate.pricing.schemas import (
    AdjustmentView,
    End,
    ListAdjustments,
    ListPrices,
    PriceView,
    PublishAdjustment,
    PublishPrice,
)
from tollgate.pricing.service import EndpointDirectory, EndpointRegister


class PricesController(Controller):
    """What calls cost, and since when."""

    path = "/admin/prices"
    tags = ("Prices",)

    @get(summary="The history of an endpoint's prices, the latest to take effect first")
    async def list_prices(
        self,
        request: Request[Any, Any, Any],
        database: Injected[Database],
        endpoints: Injected[EndpointDirectory],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[PriceView]:
        asked = web.query(request, ListPrices)
        async with database.read() as session:
            endpoint = await endpoints(session, model=asked.model, provider=asked.provider)
            rows = await service.history(
                session, endpoint.id, organization_id=asked.owner, before=asked.before, count=asked.limit + 1
            )
        return web.page(
            rows,
            limit=asked.limit,
            show=lambda row: PriceView.of(row, model=asked.model, provider=asked.provider),
            key=lambda row: row.version.id,
        )

    @post(summary="Publish a version; it takes effect for calls accepted from then on")
    async def publish_price(
        self,
        data: JSONBody[PublishPrice],
        database: Injected[Database],
        endpoints: Injected[EndpointDirectory],
        act: Injected[Act],
    ) -> One[PriceView]:
        async with database.write() as session:
            endpoint = await endpoints(session, model=data.model, provider=data.provider)
            draft = data.draft(endpoint, now=act.at)
            publication = await service.publish(session, draft, act=act)
        return One(data=PriceView.of(publication, model=data.model, provider=data.provider))

    @delete("/{price_id:str}", summary="Withdraw a version that has not begun; what it would have superseded goes on")
    async def withdraw_price(self, price_id: FromPath[str], database: Injected[Database], act: Injected[Act]) -> None:
        wanted = PriceVersionId(web.parse_id("price", price_id))
        async with database.write() as session:
            await service.withdraw(session, wanted, act=act)

    @post("/{price_id:str}/end", status_code=200, summary="Let an organization's own version end, now or later")
    async def end_price(
        self,
        price_id: FromPath[str],
        data: JSONBody[End],
        database: Injected[Database],
        endpoint: Injected[EndpointRegister],
        act: Injected[Act],
    ) -> One[PriceView]:
        wanted = PriceVersionId(web.parse_id("price", price_id))
        async with database.write() as session:
            ended = await service.end(session, wanted, at=data.instant(now=act.at), act=act)
            place = await endpoint(session, ended.version.endpoint_id)
        return One(data=PriceView.of(ended, model=place.model, provider=place.provider))


class PriceAdjustmentsController(Controller):
    """Discounts and markups on the general prices: whose, on what, and since when."""

    path = "/admin/price-adjustments"
    tags = ("Prices",)

    @get(summary="Discounts and markups, the latest to take effect first")
    async def list_price_adjustments(
        self,
        request: Request[Any, Any, Any],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[AdjustmentView]:
        asked = web.query(request, ListAdjustments)
        async with database.read() as session:
            rows = await service.list_adjustments(session, asked.filters, before=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=AdjustmentView.of, key=lambda row: row.adjustment.id)

    @post(summary="Publish a discount or markup; it takes effect for calls accepted from then on")
    async def publish_price_adjustment(
        self,
        data: JSONBody[PublishAdjustment],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[AdjustmentView]:
        async with database.write() as session:
            published = await service.publish_adjustment(session, data.draft(now=act.at), act=act)
        return One(data=AdjustmentView.of(published))

    @post("/{adjustment_id:str}/end", status_code=200, summary="Let a discount or markup end, now or later")
    async def end_price_adjustment(
        self,
        adjustment_id: FromPath[str],
        data: JSONBody[End],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[AdjustmentView]:
        wanted = PriceAdjustmentId(web.parse_id("padj", adjustment_id))
        async with database.write() as session:
            ended = await service.end_adjustment(session, wanted, at=data.instant(now=act.at), act=act)
        return One(data=AdjustmentView.of(ended))

    @delete("/{adjustment_id:str}", summary="Withdraw one that has not begun; what it would have superseded goes on")
    async def withdraw_price_adjustment(
        self, adjustment_id: FromPath[str], database: Injected[Database], act: Injected[Act]
    ) -> None:
        wanted = PriceAdjustmentId(web.parse_id("padj", adjustment_id))
        async with database.write() as session:
            await service.withdraw_adjustment(session, wanted, act=act)


HANDLERS = (PricesController, PriceAdjustmentsController)
