"""Invoices to collect, and what collecting needs: ordinary in whatever a test does not say."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at
from tests.payments.stripe_double import StripeDouble

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.invoices.model import Heading, PaymentOrder
from tollgate.invoices.service import invoices
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit.clock import FixedClock
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.payments.service.collecting import collect
from tollgate.payments.service.means import Means
from tollgate.payments.states import Collection, CollectionMode, CollectionSettings, Policy
from tollgate.payments.store import collections as store
from tollgate.payments.stripe_client import StripeClient


@dataclass
class Desk:
    """Books, a Stripe beside them, and the clock that both go by."""

    books: Books
    double: StripeDouble
    door: StripeClient | None
    clock: FixedClock = field(default_factory=lambda: FixedClock(AFTER))
    policy: Policy = field(default_factory=Policy)

    @property
    def means(self) -> Means:
        return Means(self.books.database, self.door, self.clock, self.policy)

    def pass_time(self, by: timedelta) -> None:
        self.clock.at += by
        self.double.advance(by)

    async def invoiced(self, *, method: str | None = "good", tokens: int = 25_000_000, **order: Any) -> Heading:
        """An invoice over 10 dollars, of an organization that stored a method which behaves so."""
        organization = await self.books.an_organization(**order)
        if method is not None:
            await self.store_method(organization, method)
        await self.books.record(organization, Used(at(11, 3), {Kind.PROMPT: tokens}))
        return (await self.books.close(organization, NOVEMBER, now=AFTER)).heading

    async def store_method(self, organization: Organization, behaviour: str) -> None:
        customer = await self.means.customer(organization.id)
        self.double.store_method(customer.id, behaviour)

    async def collect(self, heading: Heading) -> Collection | None:
        return await collect(self.means, organization_id=heading.organization_id, invoice_id=heading.id)

    async def collection(self, heading: Heading) -> Collection:
        async with self.books.database.read() as session:
            found = await store.collection(session, organization_id=heading.organization_id, invoice_id=heading.id)
        assert found is not None
        return found

    async def wake(self, heading: Heading) -> None:
        async with self.books.database.write() as session:
            await store.wake_all(session, organization_id=heading.organization_id)

    async def set_mode(self, heading: Heading, mode: str) -> None:
        async with self.books.database.write() as session:
            settings = CollectionSettings(heading.organization_id, CollectionMode(mode))
            await store.set_settings(session, settings)

    async def ask(self, heading: Heading) -> None:
        async with self.books.database.write() as session:
            await store.ask(session, organization_id=heading.organization_id, invoice_id=heading.id)

    async def heading(self, heading: Heading) -> Heading:
        async with self.books.database.read() as session:
            return await invoices.issued(session, invoice_id=heading.id)

    async def mark_paid(self, heading: Heading, amount: str | None = None) -> None:
        order = PaymentOrder(amount=None if amount is None else Decimal(amount))
        async with self.books.database.write() as session:
            await invoice_payments.mark_paid(session, invoice_id=heading.id, order=order, by=None, now=self.clock.now())

    async def balance(self, heading: Heading, account: str, currency: str = "USD") -> str:
        async with self.books.database.read() as session:
            found = await ledger.balance(
                session, organization_id=heading.organization_id, account=account, currency=currency
            )
        return amount_text(found)

    async def told(self) -> list[str]:
        """The types of all events, in order."""
        rows = await self.books.pool.fetch("SELECT type FROM events ORDER BY occurred_at, type")
        return [row["type"] for row in rows]

    async def status(self, heading: Heading) -> str:
        async with self.books.database.read() as session:
            return (await accounts.get_organization(session, heading.organization_id)).status.value


def days(number: int) -> timedelta:
    return timedelta(days=number)


def later(than: datetime, **by: int) -> datetime:
    return than + timedelta(**by)
