"""A Stripe of our own: it keeps state, speaks Stripe's wire format, and goes wrong on demand.

It is an ASGI application, served on loopback to the real `stripe` library. What people do at Stripe (pay on a page,
dispute a payment, send money back) are methods of `StripeDouble`; time passes only when a test says so.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from tests.payments.stripe_double import balance, charging, checkout, customers, delivery, invoices
from tests.payments.stripe_double.app import SECRET_KEY, App, Call
from tests.payments.stripe_double.delivery import WEBHOOK_SECRET, Receiver, sign
from tests.payments.stripe_double.faults import Faults, Kind
from tests.payments.stripe_double.serving import served
from tests.payments.stripe_double.wire import Params, Problem, Thing
from tests.payments.stripe_double.world import World

__all__ = ["SECRET_KEY", "WEBHOOK_SECRET", "Kind", "Problem", "StripeDouble", "Thing", "a_stripe", "sign"]


class StripeDouble:
    """One Stripe account, and the people around it."""

    def __init__(self, now: datetime) -> None:
        self.world = World(now)
        self.faults = Faults()
        self.app = App(self.world, self.faults)
        self.url = ""

    def begin_anew(self, now: datetime) -> None:
        """Another account, at the same address: nothing is there, and nothing goes wrong."""
        self.world = World(now)
        self.faults = Faults()
        self.app.begin_anew(self.world, self.faults)

    @property
    def calls(self) -> list[Call]:
        """Everything that was asked."""
        return self.app.calls

    def every(self, kind: str) -> list[Thing]:
        """All objects of a kind, the newest first."""
        return self.world.every(kind)

    def advance(self, by: timedelta) -> None:
        """Let time pass: pages expire, money becomes available, idempotency keys are forgotten."""
        self.world.advance(by)
        checkout.expire_due(self.world)

    def store_method(self, customer: str, behaviour: str = "good") -> Thing:
        """The customer stores a method to pay with, and makes it the default."""
        return customers.store_method(self.world, customer, behaviour)

    def delete_customer(self, customer: str) -> None:
        """Somebody deletes the customer by hand."""
        customers.delete(self.world, Params({}), customer)

    def complete(self, session: str, behaviour: str = "good") -> Thing:
        """The customer does what the page asks for."""
        return checkout.complete(self.world, session, behaviour)

    def confirm(self, intent: str) -> None:
        """The customer confirms a payment that waits for it (3-D Secure), or a slow one arrives."""
        found = self.world.get("payment_intent", intent)
        charging.succeed(self.world, found)
        self._after(found)

    def bounce(self, intent: str) -> None:
        """A slow payment does not arrive."""
        found = self.world.get("payment_intent", intent)
        charging.fail(self.world, found)
        self._after(found)

    def pay_hosted(self, invoice: str, behaviour: str = "good") -> None:
        """The customer pays an invoice on its own page."""
        found = self.world.get("invoice", invoice)
        method = customers.store_method(self.world, found["customer"], behaviour, is_default=False)
        invoices.collect(self.world, invoices.intent_of(self.world, found), method)

    def end_refund(self, refund: str, *, failed: bool = False) -> None:
        """A refund arrives, or comes back."""
        charging.end_refund(self.world, refund, failed=failed)

    def dispute(self, charge: str, amount: int | None = None) -> Thing:
        """The customer's bank takes a payment back."""
        return charging.dispute(self.world, self.world.get("charge", charge), amount=amount)

    def end_dispute(self, dispute: str, *, won: bool) -> None:
        """The bank decides."""
        charging.end_dispute(self.world, dispute, won=won)

    def pay_out(self, currency: str = "usd") -> Thing:
        """Everything available goes to the bank."""
        return balance.pay_out(self.world, currency)

    def fail_payout(self, payout: str) -> None:
        """The bank sends a payout back."""
        balance.fail_payout(self.world, payout)

    async def deliver(self, receive: Receiver, events: Iterable[Thing] | None = None) -> list[int]:
        """Send webhooks: those given, in that order, or all that were never sent. Answers the statuses."""
        if events is None:
            events = list(self.world.untold)
            self.world.untold.clear()
        return await delivery.deliver(self.world, receive, events)

    def _after(self, intent: Thing) -> None:
        invoices.after(self.world, intent)
        checkout.after(self.world, intent)


@asynccontextmanager
async def a_stripe(now: datetime) -> AsyncIterator[StripeDouble]:
    """A double that is served on loopback for as long as the block runs."""
    double = StripeDouble(now)
    async with served(double.app) as url:
        double.url = url
        yield double
