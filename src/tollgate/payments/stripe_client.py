"""The door to Stripe: the only module that speaks to it, in our own values, and with an idempotency key on every write.

Nothing is retried here: who asks knows whether to ask again with the same key, or to look first. Stripe keeps a key's
answer for a day, failures too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import stripe
from stripe import RequestOptions
from stripe.params import InvoiceCreateParams
from stripe.params.checkout import SessionCreateParamsLineItem, SessionCreateParamsLineItemPriceData

from tollgate.payments.model import (
    BalanceTransaction,
    Charge,
    CheckoutOrder,
    CheckoutSession,
    Dispute,
    InvoiceOrder,
    ItemOrder,
    Metadata,
    PaymentIntent,
    Payout,
    Refund,
    StoredMethod,
    StripeBalance,
    StripeCustomer,
    StripeError,
    StripeEvent,
    StripeInvoice,
)
from tollgate.payments.rules import failures, lists, readings, signatures
from tollgate.payments.rules.amounts import to_stripe
from tollgate.payments.rules.lists import PAGE

# Stripe's library would write an id of this machine to the home directory and send it along, with its platform.
stripe.enable_telemetry = False

API_BASE = "https://api.stripe.com"
_LIVE_KEYS = ("sk_live_", "rk_live_")

_WITH_PAYMENTS = ["payments"]
_WITH_SETUP = ["setup_intent"]

Value = TypeVar("Value")


class StripeClient:
    """Stripe as we use it. Close it when done.

    Every method may raise the errors of `payments.model`: `StripeAway` for what may have happened, `StripeRefused` for
    what cannot, `StripeMissing` for what is not there, `StripeDeclined`, `StripeUnauthorised`, `NotTheirs`.
    """

    def __init__(
        self,
        secret_key: str,
        *,
        webhook_secrets: Sequence[str] = (),
        base: str | None = None,
        timeout_seconds: int = 20,
    ) -> None:
        self.is_live = secret_key.startswith(_LIVE_KEYS)
        self.webhook_secrets = tuple(webhook_secrets)
        self._http = stripe.HTTPXClient(timeout=timeout_seconds)
        self._api = stripe.StripeClient(
            secret_key, base_addresses={"api": base or API_BASE}, max_network_retries=0, http_client=self._http
        ).v1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the library leaves it untyped

    # Customers, and what they pay with

    async def create_customer(self, *, name: str, metadata: Metadata, key: str) -> StripeCustomer:
        """A new customer."""
        asked = self._api.customers.create_async({"name": name, "metadata": dict(metadata)}, _once(key))
        made = await _one(asked, "customer", readings.customer)
        return readings.theirs(made, made.metadata == metadata)

    async def customer(self, customer_id: str) -> StripeCustomer:
        """The customer, who may have been deleted."""
        return await _one(self._api.customers.retrieve_async(customer_id), "customer", readings.customer, customer_id)

    async def find_customer(self, *, name: str, value: str) -> StripeCustomer | None:
        """The oldest living customer with this metadata. Stripe finds those made in the last minute only perhaps."""
        query = f"metadata['{name}']:'{value}'"
        found = await _all(self._api.customers.search_async({"query": query, "limit": PAGE}), readings.customer)
        return next((each for each in reversed(found) if each.metadata.get(name) == value), None)

    async def set_default_method(self, customer_id: str, method_id: str, *, key: str) -> StripeCustomer:
        """Have the customer's invoices be paid with this stored method."""
        changed = self._api.customers.update_async(
            customer_id, {"invoice_settings": {"default_payment_method": method_id}}, _once(key)
        )
        return await _one(changed, "customer", readings.customer, customer_id)

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        """All stored methods of a customer, the newest first."""
        found = self._api.customers.payment_methods.list_async(customer_id, {"limit": PAGE})
        return await _all(found, readings.method)

    # Invoices

    async def create_invoice(self, order: InvoiceOrder, *, key: str) -> StripeInvoice:
        """A draft without lines, to which nothing happens by itself."""
        params: InvoiceCreateParams = {
            "customer": order.customer_id,
            "number": order.number,
            "currency": order.currency.lower(),
            "metadata": dict(order.metadata),
            "auto_advance": False,
            "collection_method": "charge_automatically",
            "pending_invoice_items_behavior": "exclude",
            "expand": _WITH_PAYMENTS,
        }
        if order.days_until_due is not None:
            params |= {"collection_method": "send_invoice", "days_until_due": order.days_until_due}
        if order.description is not None:
            params["description"] = order.description
        made = await _one(self._api.invoices.create_async(params, _once(key)), "invoice", readings.invoice)
        return readings.theirs(made, made.customer_id == order.customer_id and made.metadata == dict(order.metadata))

    async def add_invoice_item(self, order: ItemOrder, *, key: str) -> str:
        """Add a line to a draft; answers the item's id."""
        made = self._api.invoice_items.create_async(
            {
                "customer": order.customer_id,
                "invoice": order.invoice_id,
                "amount": to_stripe(order.amount, order.currency),
                "currency": order.currency.lower(),
                "description": order.description,
                "metadata": dict(order.metadata),
            },
            _once(key),
        )
        return await _one(made, "invoiceitem", lambda raw: str(raw["id"]))

    async def finalise_invoice(self, invoice_id: str, *, key: str) -> StripeInvoice:
        """Make a draft an open invoice; one over nothing is paid at once. Nothing is collected yet."""
        done = self._api.invoices.finalize_invoice_async(
            invoice_id, {"auto_advance": False, "expand": _WITH_PAYMENTS}, _once(key)
        )
        return await _one(done, "invoice", readings.invoice, invoice_id)

    async def pay_invoice(self, invoice_id: str, *, key: str, method_id: str | None = None) -> StripeInvoice:
        """Collect an open invoice from the given method, or from the customer's default one.

        Raises:
            StripeDeclined: it was not paid; also where the customer has to confirm (authentication_required).
        """
        done = self._api.invoices.pay_async(
            invoice_id,
            {"off_session": True, "expand": _WITH_PAYMENTS, **({"payment_method": method_id} if method_id else {})},
            _once(key),
        )
        return await _one(done, "invoice", readings.invoice, invoice_id)

    async def mark_invoice_paid_out_of_band(self, invoice_id: str, *, key: str) -> StripeInvoice:
        """Say that an open invoice was paid elsewhere: Stripe will not collect it."""
        done = self._api.invoices.pay_async(
            invoice_id, {"paid_out_of_band": True, "expand": _WITH_PAYMENTS}, _once(key)
        )
        return await _one(done, "invoice", readings.invoice, invoice_id)

    async def void_invoice(self, invoice_id: str, *, key: str) -> StripeInvoice:
        """Take back an open invoice, for good."""
        done = self._api.invoices.void_invoice_async(invoice_id, {"expand": _WITH_PAYMENTS}, _once(key))
        return await _one(done, "invoice", readings.invoice, invoice_id)

    async def delete_draft(self, invoice_id: str) -> None:
        """Throw away a draft; doing it again raises `StripeMissing`."""
        await _raw(self._api.invoices.delete_async(invoice_id), "invoice", invoice_id)

    async def invoice(self, invoice_id: str) -> StripeInvoice:
        """The invoice as it is now."""
        found = self._api.invoices.retrieve_async(invoice_id, {"expand": _WITH_PAYMENTS})
        return await _one(found, "invoice", readings.invoice, invoice_id)

    async def find_invoice(self, customer_id: str, *, name: str, value: str) -> StripeInvoice | None:
        """The customer's newest invoice with this metadata, drafts and void ones too."""
        expand = [f"data.{each}" for each in _WITH_PAYMENTS]
        found = self._api.invoices.list_async({"customer": customer_id, "limit": PAGE, "expand": expand})
        return await _first(found, readings.invoice, lambda each: each.metadata.get(name) == value)

    async def invoices(self, *, since: datetime) -> list[StripeInvoice]:
        """Invoices made since then, the newest first, without their payments."""
        return await _all(self._api.invoices.list_async(lists.since(since)), readings.invoice)

    async def invoice_of(self, payment_intent_id: str) -> str | None:
        """The id of the invoice that the payment intent pays, if it is for one."""
        payment: Any = {"type": "payment_intent", "payment_intent": payment_intent_id}
        found = self._api.invoice_payments.list_async({"payment": payment, "limit": 1})
        return await _first(found, lambda raw: readings.identifier(raw["invoice"]), lambda each: each is not None)

    # Pages at Stripe

    async def create_checkout(self, order: CheckoutOrder, *, key: str) -> CheckoutSession:
        """A page on which the customer makes one payment."""
        opened = self._api.checkout.sessions.create_async(
            {
                "mode": "payment",
                "customer": order.customer_id,
                "client_reference_id": order.reference,
                "line_items": [_line(name, amount, order.currency) for name, amount in order.lines],
                "success_url": order.success_url,
                "cancel_url": order.cancel_url,
                "expires_at": int(order.expires_at.timestamp()),
                "metadata": dict(order.metadata),
                "payment_intent_data": {"metadata": dict(order.metadata)},
            },
            _once(key),
        )
        session = await _one(opened, "checkout.session", readings.session)
        return readings.theirs(
            session, (session.reference, session.customer_id) == (order.reference, order.customer_id)
        )

    async def create_setup(
        self, customer_id: str, *, currency: str, success_url: str, cancel_url: str, key: str
    ) -> CheckoutSession:
        """A page on which the customer stores what to pay with."""
        opened = self._api.checkout.sessions.create_async(
            {
                "mode": "setup",
                "customer": customer_id,
                "currency": currency.lower(),
                "success_url": success_url,
                "cancel_url": cancel_url,
                "expand": _WITH_SETUP,
            },
            _once(key),
        )
        session = await _one(opened, "checkout.session", readings.session)
        return readings.theirs(session, session.customer_id == customer_id)

    async def session(self, session_id: str) -> CheckoutSession:
        """The page as it is now."""
        found = self._api.checkout.sessions.retrieve_async(session_id, {"expand": _WITH_SETUP})
        return await _one(found, "checkout.session", readings.session, session_id)

    async def find_session(self, customer_id: str, *, reference: str) -> CheckoutSession | None:
        """The customer's newest page with this reference."""
        found = self._api.checkout.sessions.list_async({"customer": customer_id, "limit": PAGE})
        return await _first(found, readings.session, lambda each: each.reference == reference)

    async def open_portal(self, customer_id: str, *, return_url: str, key: str) -> str:
        """The URL of the customer's own pages at Stripe, for a short time."""
        opened = self._api.billing_portal.sessions.create_async(
            {"customer": customer_id, "return_url": return_url}, _once(key)
        )
        return await _one(opened, "billing_portal.session", lambda raw: str(raw["url"]))

    # Payments, and what goes back

    async def payment_intent(self, payment_intent_id: str) -> PaymentIntent:
        """The payment intent as it is now."""
        found = self._api.payment_intents.retrieve_async(payment_intent_id)
        return await _one(found, "payment_intent", readings.payment_intent, payment_intent_id)

    async def charge(self, charge_id: str) -> Charge:
        """The charge as it is now."""
        return await _one(self._api.charges.retrieve_async(charge_id), "charge", readings.charge, charge_id)

    async def create_refund(
        self, payment_intent_id: str, *, amount: Decimal, currency: str, metadata: Metadata, key: str
    ) -> Refund:
        """Give back some of what a payment intent brought."""
        made = self._api.refunds.create_async(
            {"payment_intent": payment_intent_id, "amount": to_stripe(amount, currency), "metadata": dict(metadata)},
            _once(key),
        )
        refund = await _one(made, "refund", readings.refund)
        return readings.theirs(refund, refund.payment_intent_id == payment_intent_id)

    async def refund(self, refund_id: str) -> Refund:
        """The refund as it is now."""
        return await _one(self._api.refunds.retrieve_async(refund_id), "refund", readings.refund, refund_id)

    async def refunds_of(self, payment_intent_id: str) -> list[Refund]:
        """Everything given back of a payment intent, the newest first."""
        found = self._api.refunds.list_async({"payment_intent": payment_intent_id, "limit": PAGE})
        return await _all(found, readings.refund)

    async def dispute(self, dispute_id: str) -> Dispute:
        """The dispute as it is now."""
        return await _one(self._api.disputes.retrieve_async(dispute_id), "dispute", readings.dispute, dispute_id)

    async def disputes(self, *, since: datetime | None = None, payment_intent_id: str | None = None) -> list[Dispute]:
        """Disputes since then, or of one payment intent, the newest first."""
        asked = lists.since(since, payment_intent=payment_intent_id)
        return await _all(self._api.disputes.list_async(asked), readings.dispute)

    async def balance_transactions(
        self, *, since: datetime | None = None, payout_id: str | None = None
    ) -> list[BalanceTransaction]:
        """Movements of the balance since then, or those that an automatic payout is made of; the newest first."""
        found = self._api.balance_transactions.list_async(lists.since(since, payout=payout_id))
        return await _all(found, readings.balance_transaction)

    async def payouts(self, *, since: datetime | None = None) -> list[Payout]:
        """Payouts made since then, the newest first."""
        return await _all(self._api.payouts.list_async(lists.since(since)), readings.payout)

    async def events(self, *, since: datetime, types: Sequence[str] = ()) -> list[StripeEvent]:
        """Events since then, the newest first; of 20 types at most. Stripe keeps them for 30 days."""
        asked = lists.since(since, types=list(types) or None)
        return await _all(self._api.events.list_async(asked), readings.event)

    async def balances(self) -> list[StripeBalance]:
        """What is at Stripe now, by currency."""
        return await _one(self._api.balance.retrieve_async(), "balance", readings.balances)

    def read_event(self, payload: bytes, signature: str | None, *, now: datetime) -> StripeEvent:
        """The event of a webhook, if it is Stripe's, and of the last minutes.

        Raises:
            InvalidRequest: it is not signed with one of our secrets, too old, or no event.
        """
        return signatures.event(payload, signature, verify=self._is_signed, now=now)

    def _is_signed(self, payload: bytes, signature: str) -> bool:
        return any(_verifies(payload, signature, secret) for secret in self.webhook_secrets)


def _once(key: str) -> RequestOptions:
    return {"idempotency_key": key}


def _line(name: str, amount: Decimal, currency: str) -> SessionCreateParamsLineItem:
    what: SessionCreateParamsLineItemPriceData = {
        "currency": currency.lower(),
        "unit_amount": to_stripe(amount, currency),
        "product_data": {"name": name},
    }
    return {"quantity": 1, "price_data": what}


async def _one(
    asked: Awaitable[Any], kind: str, read: Callable[[readings.Raw], Value], identifier: str | None = None
) -> Value:
    """What Stripe answers, read; it must be of that kind, and the one that was asked for."""
    return readings.read(await _raw(asked, kind, identifier), read)


async def _raw(asked: Awaitable[Any], kind: str, identifier: str | None = None) -> readings.Raw:
    try:
        raw: readings.Raw = (await asked).to_dict()
    except stripe.StripeError as error:
        raise _failure(error) from error
    is_theirs = raw.get("object") == kind and identifier in {None, raw.get("id")}
    return readings.theirs(raw, is_theirs)


async def _all(asked: Awaitable[Any], read: Callable[[readings.Raw], Value]) -> list[Value]:
    return [each async for each in _each(asked, read)]


async def _first(
    asked: Awaitable[Any], read: Callable[[readings.Raw], Value], is_wanted: Callable[[Value], bool]
) -> Value | None:
    async for each in _each(asked, read):
        if is_wanted(each):
            return each
    return None


async def _each(asked: Awaitable[Any], read: Callable[[readings.Raw], Value]) -> AsyncIterator[Value]:
    """Everything of a list, page after page."""
    try:
        async for item in (await asked).auto_paging_iter():
            yield readings.read(item.to_dict(), read)
    except stripe.StripeError as error:
        raise _failure(error) from error


def _failure(error: stripe.StripeError) -> StripeError:
    details = error.error
    said = {} if details is None else details.to_dict()
    is_replay = str((error.headers or {}).get("idempotent-replayed")) == "true"
    return failures.of(error.http_status, said, error.user_message or "", is_replay=is_replay)


def _verifies(payload: bytes, signature: str, secret: str) -> bool:
    try:
        # Whether it is too old is decided by our own clock.
        stripe.WebhookSignature.verify_header(payload, signature, secret, tolerance=None)
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True
