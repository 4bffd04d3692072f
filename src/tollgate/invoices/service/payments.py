"""Use cases of payments: what came in for an invoice or went back, by word of the operator or of a payment provider."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import (
    Heading,
    InvoiceStatus,
    Payment,
    PaymentKind,
    PaymentMethod,
    PaymentOrder,
    RefundOrder,
)
from tollgate.invoices.rules import paying, telling
from tollgate.invoices.service import invoices
from tollgate.invoices.store import invoices as invoice_store
from tollgate.invoices.store import payments as store
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import InvoiceId, KeyId, OrganizationId, PaymentId
from tollgate.ledger import service as ledger
from tollgate.webhooks import service as webhooks
from tollgate.webhooks.model import EventType


async def mark_paid(
    session: WriteSession, *, invoice_id: InvoiceId, order: PaymentOrder, by: KeyId | None, now: datetime
) -> Heading:
    """Record a payment that was made outside of any payment provider; whole, unless the order says how much.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing is due on it.
        InvalidRequest: the amount or the time cannot be; `field` says which.
    """
    heading = await locked(session, await invoices.issued(session, invoice_id=invoice_id))
    paid = (PaymentKind.PAYMENT, paying.amount_to_mark(heading, order, now), order.paid_at or now)
    return await record(session, payment=_by_hand(heading, paid, order.reference, by=by, now=now))


async def mark_refunded(
    session: WriteSession, *, invoice_id: InvoiceId, order: RefundOrder, by: KeyId | None, now: datetime
) -> Heading:
    """Record that money was given back outside of any payment provider: what a credit note left below zero.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing is to be given back.
        InvalidRequest: the amount or the time cannot be; `field` says which.
    """
    heading = await locked(session, await invoices.issued(session, invoice_id=invoice_id))
    refunded = (PaymentKind.REFUND, paying.amount_to_refund(heading, order, now), order.refunded_at or now)
    return await record(session, payment=_by_hand(heading, refunded, order.reference, by=by, now=now))


def _by_hand(
    heading: Heading,
    moved: tuple[PaymentKind, Decimal, datetime],
    reference: str | None,
    *,
    by: KeyId | None,
    now: datetime,
) -> Payment:
    kind, amount, occurred_at = moved
    return Payment(
        organization_id=heading.organization_id,
        id=PaymentId(identity.new_id(now)),
        invoice_id=heading.id,
        kind=kind,
        method=PaymentMethod.MANUAL,
        amount=amount,
        currency=heading.currency,
        reference=reference,
        occurred_at=occurred_at,
        recorded_at=now,
        recorded_by=by,
    )


async def record(session: WriteSession, *, payment: Payment) -> Heading:
    """Record money that came in or went back, whatever the invoice's status is; once, by the payment's id.

    Raises:
        NotFound: the organization has no such invoice.
    """
    heading = await locked(session, await _issued(session, payment))
    if not await store.add_payment(session, payment):
        return heading
    for transfer in paying.postings(heading, payment):
        await ledger.post(session, transfer)
    after = paying.after(heading, payment)
    await invoice_store.move_on(session, after)
    if after.status is InvoiceStatus.PAID and heading.status is not InvoiceStatus.PAID:
        await webhooks.emit(session, telling.of(after, EventType.INVOICE_PAID, payment.id))
    return after


async def locked(session: WriteSession, heading: Heading) -> Heading:
    """The invoice as it is once nobody else can change it, until the transaction ends."""
    await ledger.lock(session, organization_id=heading.organization_id)
    found = await invoice_store.heading(session, organization_id=heading.organization_id, invoice_id=heading.id)
    return found or heading


async def _issued(session: ReadSession, payment: Payment) -> Heading:
    found = await invoice_store.heading(session, organization_id=payment.organization_id, invoice_id=payment.invoice_id)
    if found is None:
        raise NotFound("There is no such invoice.")
    return found


async def payments_of(
    session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId
) -> Sequence[Payment]:
    """Everything that came in for the invoice or went back, in the order in which it was recorded."""
    return await store.payments(session, organization_id=organization_id, invoice_id=invoice_id)


async def at_stripe(session: ReadSession, *, references: Collection[str]) -> Sequence[Payment]:
    """Everything that came in or went back by these payments at Stripe, whichever organization's, oldest first."""
    return await store.at_stripe(session, references=references)


async def moved_at_stripe(session: ReadSession, *, since: datetime) -> Sequence[str]:
    """The payments at Stripe that came in or went back since then, by what they are called there."""
    return await store.references_since(session, since)
