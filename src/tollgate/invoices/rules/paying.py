"""What a payment does to an invoice and to the ledger, and what may be paid by hand."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tollgate.invoices.model import Heading, InvoiceStatus, Payment, PaymentMethod, PaymentOrder
from tollgate.kit import instants, money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import derived_id
from tollgate.ledger.model import CASH, RECEIVABLE, STRIPE_CLEARING, UNCOLLECTIBLE, Transfer

_SOURCES = {PaymentMethod.MANUAL: CASH, PaymentMethod.STRIPE: STRIPE_CLEARING}


def amount_to_mark(heading: Heading, order: PaymentOrder, now: datetime) -> Decimal:
    """What is paid by hand: the amount that is said, or all that is due.

    Raises:
        Conflict: nothing is due.
        InvalidRequest: the amount is nothing, more than is due, or has a part of a minor unit; or it is yet to be paid.
    """
    if order.paid_at is not None:
        instants.check(order.paid_at, "paid_at")
        if order.paid_at > now:
            raise InvalidRequest("A payment that is marked has been made already.", field="paid_at")
    due, currency = heading.amount_due, heading.currency
    if due == 0:
        raise Conflict(f"Nothing is due on {heading.number}: it is {heading.status}.")
    amount = due if order.amount is None else order.amount
    if not 0 < amount <= due:
        raise InvalidRequest(f"A payment is more than 0 and at most what is due, {due} {currency}.", field="amount")
    if money.from_minor_units(money.to_minor_units(amount, currency), currency) != amount:
        raise InvalidRequest(f"A payment is of whole minor units of {currency}.", field="amount")
    return amount


def after(heading: Heading, payment: Payment) -> Heading:
    """The invoice once the payment is recorded: paid when nothing is left due, and open again when something is."""
    change = payment.amount if payment.kind.comes_in else payment.amount.copy_negate()
    return settled(replace(heading, amount_paid=money.EXACT.add(heading.amount_paid, change)), at=payment.occurred_at)


def settled(heading: Heading, *, at: datetime) -> Heading:
    """The invoice in the status that its balance gives it: a void one stays so, and an uncollectible one until paid."""
    if heading.status is InvoiceStatus.VOID:
        return heading
    if heading.balance <= 0:
        return replace(heading, status=InvoiceStatus.PAID, paid_at=heading.paid_at or at)
    if heading.status is InvoiceStatus.PAID:
        return replace(heading, status=InvoiceStatus.FINALISED, paid_at=None)
    return heading


def postings(heading: Heading, payment: Payment) -> tuple[Transfer, ...]:
    """What the payment does to the ledger: money arrives and is owed no more, or goes back and is owed again.

    What is paid on an invoice that was given up comes back from what was given up, so that it is owed when it is paid.
    """
    moves = [(_SOURCES[payment.method], RECEIVABLE, payment.amount)]
    if not payment.kind.comes_in:
        moves = [(RECEIVABLE, _SOURCES[payment.method], payment.amount)]
    elif heading.status is InvoiceStatus.UNCOLLECTIBLE:
        moves.append((RECEIVABLE, UNCOLLECTIBLE, min(payment.amount, heading.amount_due)))
    return tuple(
        Transfer(
            organization_id=payment.organization_id,
            id=derived_id(payment.id, f"{debit}:{credit}"),
            debit_account=debit,
            credit_account=credit,
            amount=amount,
            currency=payment.currency,
            cause="payment",
            cause_id=payment.id,
            reverses_id=None,
            occurred_at=payment.occurred_at,
            posted_at=payment.recorded_at,
        )
        for debit, credit, amount in moves
        if amount > 0
    )
