"""The routes of webhooks and events: an organization's own (management)."""

from typing import Any

from litestar import Controller, Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import DeliveryId, OrganizationId, WebhookId
from tollgate.kit.principal import Principal
from tollgate.webhooks import service
from tollgate.webhooks.schemas import (
    ChangeWebhook,
    CreateWebhook,
    DeliveryView,
    EventView,
    ListDeliveries,
    ListEvents,
    MintedWebhookView,
    Replay,
    ReplayedView,
    WebhookView,
)

AnyRequest = Request[Any, Any, Any]


class WebhooksController(Controller):
    """The addresses that an organization is told of events at."""

    path = "/webhooks"
    tags = ("Webhooks",)

    @get(summary="The organization's addresses, newest first")
    async def list_webhooks(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[WebhookView]:
        asked, owner = web.query(request, Paging), manager.organization_id
        async with database.read() as session:
            rows = await service.list_webhooks(
                session, organization_id=owner, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=WebhookView.of, key=lambda row: row.id)

    @post(summary="Enter an address; the answer is the only time its secret is shown")
    async def create_webhook(
        self,
        data: JSONBody[CreateWebhook],
        database: Injected[Database],
        clock: Injected[Clock],
        seal: Injected[Seal],
        webhook_reach: Injected[Reach],
        manager: Injected[Principal],
    ) -> MintedWebhookView:
        await service.check_whereabouts(data.url, reach=webhook_reach)
        async with database.write() as session:
            minted = await service.create(
                session,
                order=data.order(),
                owner=(manager.organization_id, manager.key_id),
                seal=seal,
                private=webhook_reach.private,
                now=clock.now(),
            )
        return MintedWebhookView.of(minted)

    @get("/{webhook_id:str}", summary="One address, and what it is told of")
    async def get_webhook(
        self, webhook_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[WebhookView]:
        owner, wanted = _scope(manager, webhook_id)
        async with database.read() as session:
            return One(data=WebhookView.of(await service.get(session, organization_id=owner, webhook_id=wanted)))

    @patch("/{webhook_id:str}", summary="Change an address, or what it is told of; what is left out stays")
    async def change_webhook(
        self,
        webhook_id: FromPath[str],
        data: JSONBody[ChangeWebhook],
        database: Injected[Database],
        webhook_reach: Injected[Reach],
        manager: Injected[Principal],
    ) -> One[WebhookView]:
        owner, wanted = _scope(manager, webhook_id)
        if data.url is not UNSET:
            await service.check_whereabouts(data.url, reach=webhook_reach)
        async with database.write() as session:
            changed = await service.change(
                session,
                organization_id=owner,
                webhook_id=wanted,
                edit=data.applied_to,
                private=webhook_reach.private,
            )
        return One(data=WebhookView.of(changed))

    @delete("/{webhook_id:str}", status_code=200, summary="Forget an address; what waits for it is not sent")
    async def remove_webhook(
        self, webhook_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[WebhookView]:
        owner, wanted = _scope(manager, webhook_id)
        async with database.write() as session:
            return One(data=WebhookView.of(await service.remove(session, organization_id=owner, webhook_id=wanted)))

    @post("/{webhook_id:str}/rotate", status_code=200, summary="Give it another secret; for a day both sign")
    async def rotate_secret(
        self,
        webhook_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        seal: Injected[Seal],
        manager: Injected[Principal],
    ) -> MintedWebhookView:
        owner, wanted = _scope(manager, webhook_id)
        async with database.write() as session:
            minted = await service.rotate(session, organization_id=owner, webhook_id=wanted, seal=seal, now=clock.now())
        return MintedWebhookView.of(minted)

    @post("/{webhook_id:str}/test", status_code=202, summary="Send an event that means nothing, within seconds")
    async def send_test(
        self,
        webhook_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[DeliveryView]:
        owner, wanted = _scope(manager, webhook_id)
        async with database.write() as session:
            made = await service.send_test(session, organization_id=owner, webhook_id=wanted, now=clock.now())
        return One(data=DeliveryView.of(made))

    @post("/{webhook_id:str}/replay", status_code=202, summary="Send everything again that was told since an instant")
    async def replay_since(
        self,
        webhook_id: FromPath[str],
        data: JSONBody[Replay],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[ReplayedView]:
        scope = _scope(manager, webhook_id)
        async with database.write() as session:
            count = await service.replay_since(session, scope=scope, since=data.since, now=clock.now())
        return One(data=ReplayedView(replayed=count))


class DeliveriesController(Controller):
    """What became of telling an address."""

    path = "/webhooks/{webhook_id:str}/deliveries"
    tags = ("Webhooks",)

    @get(summary="Attempts, what came back, and when the next one is; latest first")
    async def list_deliveries(
        self,
        request: AnyRequest,
        webhook_id: FromPath[str],
        database: Injected[Database],
        manager: Injected[Principal],
    ) -> Page[DeliveryView]:
        asked, scope = web.query(request, ListDeliveries), _scope(manager, webhook_id)
        async with database.read() as session:
            rows = await service.deliveries(
                session, scope=scope, states=asked.status, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=DeliveryView.of, key=lambda row: row.id)

    @post("/{delivery_id:str}/replay", status_code=202, summary="Send it again: the same event, under the same id")
    async def replay_delivery(
        self,
        webhook_id: FromPath[str],
        delivery_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[DeliveryView]:
        scope, wanted = _scope(manager, webhook_id), DeliveryId(web.parse_id("dlv", delivery_id))
        async with database.write() as session:
            replayed = await service.replay_one(session, scope=scope, delivery_id=wanted, now=clock.now())
        return One(data=DeliveryView.of(replayed))


@get("/events", tags=["Webhooks"], summary="What was told in the last 30 days, latest first")
async def list_events(
    request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
) -> Page[EventView]:
    """Whether anybody listened or not."""
    asked = web.query(request, ListEvents)
    async with database.read() as session:
        rows = await service.events(
            session,
            organization_id=manager.organization_id,
            types=asked.type,
            before=asked.before,
            count=asked.limit + 1,
        )
    return web.page(rows, limit=asked.limit, show=EventView.of_told, key=lambda row: row.event.id)


HANDLERS = (WebhooksController, DeliveriesController, list_events)


def _scope(manager: Principal, webhook_id: str) -> tuple[OrganizationId, WebhookId]:
    return manager.organization_id, WebhookId(web.parse_id("whk", webhook_id))
