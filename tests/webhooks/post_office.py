"""Organizations with endpoints, events, and a worker that sends them, on a real database at a time that is set."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from tests.builders import an_organization
from tests.webhooks.receiver import Arrived

from tollgate.infra.database import Database
from tollgate.infra.http_client import HttpClient
from tollgate.infra.identity import new_id
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.infra.settings import Settings
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.webhooks import rules, service
from tollgate.webhooks.model import Delivery, DeliveryState, Event, EventType, MintedWebhook, NewWebhook
from tollgate.webhooks.tasks import Courier, Post

KEY = Settings("postgresql://nowhere/none", sealing_key="a key of thirty-two characters or more")
SOMEBODY = KeyId(UUID(int=7))


async def resolve(name: str) -> tuple[str, ...]:
    return (name,)


@dataclass(frozen=True, slots=True)
class PostOffice:
    """What a test does with endpoints and events, and looks at."""

    database: Database
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: FixedClock
    seal: Seal = field(default_factory=lambda: Seal(KEY))

    @property
    def post(self) -> Post:
        """One worker: every chance is the middle one."""
        client = HttpClient(Reach(resolve, private=True))
        return Post(self.database, self.clock, client, self.seal, chance=lambda: 500, seconds_max=2)

    async def an_owner(self) -> OrganizationId:
        return (await an_organization(self.database)).id

    async def a_webhook(self, owner: OrganizationId, url: str, **order: Any) -> MintedWebhook:
        async with self.database.write() as session:
            return await service.create(
                session,
                order=NewWebhook(url, **order),
                owner=(owner, SOMEBODY),
                seal=self.seal,
                private=True,
                now=self.clock.now(),
            )

    async def tell(self, owner: OrganizationId, kind: EventType = EventType.INVOICE_PAID, **data: object) -> Event:
        told = rules.event(owner, new_id(self.clock.now()), kind, data, now=self.clock.now())
        async with self.database.write() as session:
            await service.emit(session, told)
        return told

    async def send(self, post: Post | None = None) -> int:
        """Whatever is due, sent; answers how many attempts that took."""
        return await Courier(post or self.post).deliver()

    async def later(self, passed: timedelta) -> int:
        """Whatever is due when so much more time has passed."""
        self.clock.at += passed
        return await self.send()

    async def deliveries(self, minted: MintedWebhook) -> list[Delivery]:
        scope = (minted.webhook.organization_id, minted.webhook.id)
        async with self.database.read() as session:
            return await service.deliveries(session, scope=scope, states=(), before=None, count=1000)

    async def edit(self, minted: MintedWebhook, **changes: Any) -> None:
        async with self.database.write() as session:
            await service.change(
                session,
                organization_id=minted.webhook.organization_id,
                webhook_id=minted.webhook.id,
                edit=lambda webhook: replace(webhook, **changes),
                private=True,
            )


async def states_of(office: PostOffice, minted: MintedWebhook) -> list[tuple[DeliveryState, int]]:
    """What became of each event, latest first, and after how many attempts."""
    return [(each.state, each.attempts) for each in await office.deliveries(minted)]


def verified(arrived: Arrived, secret: str, *, at: datetime) -> dict[str, Any]:
    """What arrived, once one of its signatures is found to be the secret's and of that second."""
    parts = [part.split("=", 1) for part in arrived.headers["tollgate-signature"].split(",")]
    second = dict(parts)["t"]
    expected = hmac.new(secret.encode(), f"{second}.".encode() + arrived.body, hashlib.sha256).hexdigest()
    assert ["v1", expected] in parts
    assert int(second) == int(at.timestamp())
    told: dict[str, Any] = json.loads(arrived.body)
    assert arrived.headers["tollgate-event-id"] == told["id"]
    assert arrived.headers["tollgate-event-type"] == told["type"]
    return told


async def until(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)
