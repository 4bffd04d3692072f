"""Invoices to collect, and what collecting needs: ordinary in whatever a test does not say."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at, usage
from tests.payments.shop import act_on_events
from tests.payments.stripe_double import StripeDouble, charging
from tests.payments.stripe_double.wire import Params, Thing

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.entrypoints import doctor
from tollgate.invoices import proofs as invoice_proofs
from tollgate.invoices.acts import CreditOrder
from tollgate.invoices.model import Heading, Invoice, PaymentOrder, Window
from tollgate.invoices.rules import closing, lines
from tollgate.invoices.service import credit_notes, invoices
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit.clock import FixedClock
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.ledger import proofs as ledger_proofs
from tollgate.ledger import service as ledger
from tollgate.ledger.model import AdjustmentOrder
from tollgate.payments import proofs as payment_proofs
from tollgate.payments.records import TopUpOrder
from tollgate.payments.service import inbox, reconciling, returning, sweeping, top_ups
from tollgate.payments.service.collecting import collect
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.service.sweeping import Swept
from tollgate.payments.states import (
    Collection,
    CollectionMode,
    CollectionSettings,
    Policy,
    Reconciliation,
    RefundRow,
)
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

    async def credit(self, heading: Heading, amount: str) -> None:
        order = CreditOrder(reason="not as agreed", amount=Decimal(amount))
        async with self.books.database.write() as session:
            await credit_notes.issue(session, invoice_id=heading.id, order=order, by=None, now=self.clock.now())

    async def refund(self, heading: Heading, amount: str | None = None) -> list[RefundRow]:
        """Ask for a refund, and have Stripe be asked."""
        wanted = None if amount is None else Decimal(amount)
        async with self.books.database.write() as session:
            rows = await returning.request(
                session, invoice_id=heading.id, amount=wanted, reason=None, by=None, now=self.clock.now()
            )
        done = [
            await returning.go_on(self.means, organization_id=row.organization_id, refund_id=row.id) for row in rows
        ]
        return [row for row in done if row is not None]

    async def refund_at_stripe(self, heading: Heading, units: int) -> None:
        """Somebody gives money back on Stripe's own pages."""
        del heading
        charging.create_refund(
            self.double.world,
            Params({"payment_intent": self.double.every("payment_intent")[0]["id"], "amount": str(units)}),
        )

    async def hear(self, events: list[Thing] | None = None) -> None:
        """These webhooks arrive, or all that are new, and are acted on."""

        async def receive(payload: bytes, signature: str) -> int:
            assert self.door is not None
            now = self.double.world.now
            event = self.door.read_event(payload, signature, now=now)
            async with self.books.database.write() as session:
                await inbox.receive(session, event=event, is_live=False, now=self.clock.now())
            return 200

        await self.double.deliver(receive, events)
        assert self.door is not None
        at = Surroundings(self.books.database, self.door, self.clock, self.policy)
        await act_on_events(at)

    async def sweep(self) -> Swept:
        return await sweeping.sweep(self.means)

    async def reconcile(self) -> Reconciliation:
        return await reconciling.reconcile(self.means)

    async def topped_up(self, amount: str, *, spent: str) -> Heading:
        """An organization that bought credit and spent some of it. Answers the heading of no invoice, for its ids."""
        assert self.door is not None
        organization = await self.books.an_organization()
        at = Surroundings(self.books.database, self.door, self.clock, self.policy)
        order = TopUpOrder(Decimal(amount), "https://example.com/done", "https://example.com/left")
        asked = await top_ups.ask(
            self.books.database, owner=organization.id, order=order, by=None, once=None, now=self.clock.now()
        )
        await top_ups.look_after(at, organization_id=organization.id, top_up_id=asked.id)
        self.double.complete(self.double.every("checkout.session")[0]["id"])
        await top_ups.look_after(at, organization_id=organization.id, top_up_id=asked.id)
        charge = AdjustmentOrder(Decimal(spent) * -1, "USD", "spent")
        async with self.books.database.write() as session:
            await ledger.adjust(session, organization_id=organization.id, order=charge, by=None, now=self.clock.now())
        return closing.issue(_draft(organization), serial=1, now=self.clock.now()).heading

    async def void_credit(self, heading: Heading) -> None:
        owner = heading.organization_id
        async with self.books.database.write() as session:
            [grant] = await ledger.grants(session, organization_id=owner, before=None, count=2)
            await ledger.void_grant(session, grant=(owner, grant.id), reason="", by=None, now=self.clock.now())

    async def complaints(self) -> set[str]:
        """What the doctor says of money; the calls of these tests are made up, and not whole."""
        report = await doctor.examine(self.books.database)
        return {check.name for check in (*ledger_proofs.CHECKS, *invoice_proofs.CHECKS, *payment_proofs.CHECKS)} & {
            *report.complaints
        }

    async def credit_left(self, heading: Heading) -> str:
        """What is left of all grants."""
        async with self.books.database.read() as session:
            grants = await ledger.live_grants(
                session, organization_id=heading.organization_id, currency="USD", now=self.clock.now()
            )
        return amount_text(sum((grant.remaining for grant in grants), Decimal(0)))

    async def pay_for_nothing(self, heading: Heading, units: int) -> None:
        """The customer pays something at Stripe that nobody here asked for."""
        customer = await self.means.customer(heading.organization_id)
        intent = charging.new_intent(self.double.world, customer=customer.id, amount=units, currency="usd")
        charging.succeed(self.double.world, intent)

    async def balance(self, heading: Heading, account: str, currency: str = "USD") -> str:
        async with self.books.database.read() as session:
            found = await ledger.balance(
                session, organization_id=heading.organization_id, account=account, currency=currency
            )
        return amount_text(found)

    async def told(self, heading: Heading) -> list[str]:
        """The types of all events of the organization, in order."""
        told = "SELECT type FROM events WHERE organization_id = $1 ORDER BY occurred_at, type"
        rows = await self.books.pool.fetch(told, heading.organization_id)
        return [row["type"] for row in rows]

    async def told_of(self, heading: Heading, kind: str) -> list[dict[str, Any]]:
        """The data of the organization's events of that type."""
        told = "SELECT data FROM events WHERE organization_id = $1 AND type = $2"
        rows = await self.books.pool.fetch(told, heading.organization_id, kind)
        return [json.loads(row["data"]) for row in rows]

    async def status(self, heading: Heading) -> str:
        async with self.books.database.read() as session:
            return (await accounts.get_organization(session, heading.organization_id)).status.value


def _draft(organization: Organization) -> Invoice:
    window = Window(NOVEMBER.instants(organization.zone), 1, previous_end=None, previous_cut=None)
    return lines.draft(organization, NOVEMBER, window, [usage("1")])


def days(number: int) -> timedelta:
    return timedelta(days=number)
