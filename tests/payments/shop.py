"""An installation that takes payments: a real database, a Stripe of our own, the door between them, and their clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from tests.conftest import NOON
from tests.payments.stripe_double import SECRET_KEY, WEBHOOK_SECRET, StripeDouble, a_stripe

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization, Organization
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.money import amount_text
from tollgate.ledger import service as ledger
from tollgate.ledger.model import STRIPE_CLEARING, TAX, Grant
from tollgate.payments import tasks
from tollgate.payments.records import TopUp, TopUpOrder
from tollgate.payments.service import inbox
from tollgate.payments.service import top_ups as service
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient

PAGES = {"success_url": "https://shop.test/yes", "cancel_url": "https://shop.test/no"}


@dataclass(frozen=True)
class Shop:
    """What a test drives."""

    at: Surroundings
    double: StripeDouble
    clock: FixedClock

    @property
    def database(self) -> Database:
        return self.at.database

    async def an_organization(self, **order: Any) -> Organization:
        async with self.database.write() as session:
            terms = NewOrganization(**{"name": "Acme", **order})
            return await accounts.create_organization(session, order=terms, now=self.clock.now())

    async def ask(self, organization: Organization, amount: str = "25", once: str | None = None, **order: str) -> TopUp:
        """The row of a top-up, before Stripe was asked for anything."""
        wanted = TopUpOrder(Decimal(amount), **{**PAGES, **order})
        return await service.ask(
            self.database, owner=organization.id, order=wanted, by=None, once=once, now=self.clock.now()
        )

    async def look(self, top_up: TopUp) -> TopUp:
        return await service.look_after(self.at, organization_id=top_up.organization_id, top_up_id=top_up.id)

    async def opened(self, organization: Organization, amount: str = "25") -> TopUp:
        """A top-up whose page waits for the customer."""
        top_up = await self.look(await self.ask(organization, amount))
        assert top_up.session_id is not None
        return top_up

    async def now(self, top_up: TopUp) -> TopUp:
        async with self.database.read() as session:
            return await service.get(session, organization_id=top_up.organization_id, top_up_id=top_up.id)

    async def receive(self, payload: bytes, signature: str) -> int:
        """What the route does with a webhook."""
        try:
            event = self.at.stripe.read_event(payload, signature, now=self.clock.now())
            async with self.database.write() as session:
                await inbox.receive(session, event=event, is_live=self.at.stripe.is_live, now=self.clock.now())
        except InvalidRequest:
            return 400
        return 200

    async def hear(self) -> None:
        """Every webhook arrives, and is acted on."""
        await self.double.deliver(self.receive)
        await act_on_events(self.at)

    async def pass_time(self, by: timedelta) -> None:
        """Time passes for both of us, and the worker does what is due."""
        self.clock.at += by
        self.double.advance(by)
        await act_on_events(self.at)
        async with self.database.read() as session:
            due = await service.due(session, now=self.clock.now(), count=100)
        for owner, top_up_id in due:
            await service.look_after(self.at, organization_id=owner, top_up_id=top_up_id)

    async def grants(self, organization: Organization) -> list[Grant]:
        async with self.database.read() as session:
            return list(await ledger.grants(session, organization_id=organization.id, before=None, count=10))

    async def balances(self, organization: Organization) -> tuple[str, ...]:
        """What is at Stripe by our books, and what is owed to the state."""
        async with self.database.read() as session:
            found = [
                await ledger.balance(session, organization_id=organization.id, account=account, currency="USD")
                for account in (STRIPE_CLEARING, TAX)
            ]
        return tuple(amount_text(balance) for balance in found)

    async def told(self, organization: Organization) -> list[str]:
        """The types of our own events."""
        asked = sa.text("SELECT type FROM events WHERE organization_id = :id").bindparams(id=organization.id)
        async with self.database.read() as session:
            return [row.type for row in await session.execute(asked)]


async def act_on_events(at: Surroundings) -> None:
    """Whatever events are due, acted on one after another."""
    async with at.database.read() as session:
        due = await inbox.due(session, now=at.clock.now(), count=100)
    for event_id in due:
        await tasks.process_event(at, event_id)


async def leave(database: Database) -> None:
    """What a test left undone is not for the next one to do."""
    async with database.write() as session:
        await session.execute(sa.text("UPDATE top_ups SET next_at = NULL WHERE next_at IS NOT NULL"))
        await session.execute(sa.text("UPDATE stripe_events SET processed_at = now() WHERE processed_at IS NULL"))


@asynccontextmanager
async def a_shop(database: Database) -> AsyncIterator[Shop]:
    """An installation on that database, with a Stripe account of its own."""
    clock = FixedClock(NOON)
    async with a_stripe(NOON) as double:
        door = StripeClient(SECRET_KEY, webhook_secrets=(WEBHOOK_SECRET,), base=double.url, timeout_seconds=5)
        yield Shop(Surroundings(database, door, clock), double, clock)
        await door.close()
        await leave(database)
