"""What a payment does to an invoice and to the ledger, and what may be paid and given back by hand.

At any time the ledger's RECEIVABLE holds of an invoice what its balance says, less what is given up: all of the balance
while the invoice is uncollectible, and nothing otherwise. Whatever moves one of the two moves the other.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.invoices.model import Heading, InvoiceStatus, Payment, PaymentMethod, PaymentOrder, RefundOrder
from tollgate.invoices.rules import document
from tollgate.kit import instants, money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import GrantId, derived_id
from tollgate.ledger.model import CASH, RECEIVABLE, STRIPE_CLEARING, UNCOLLECTIBLE, Transfer, credits_of
from tollgate.ledger.rules import funding_id

REFERENCE_CHARACTERS_MAX = 200


def amount_to_mark(heading: Heading, order: PaymentOrder, now: datetime) -> Decimal:
    """What is paid by hand: the amount that is said, or all that is due.

    Raises:
        Conflict: nothing is due.
        InvalidRequest: the amount is nothing, more than is due, or has a part of a minor unit; it is yet to be paid; or
            its reference is too long.
    """
    _check_is_past(order.paid_at, "paid_at", now)
    _check_reference(order.reference)
    due = heading.amount_due
    if due == 0:
        raise Conflict(f"Nothing is due on {heading.number}: it is {heading.status}.")
    return _amount_within(order.amount, due, "A payment is more than 0 and at most what is due", heading)


def amount_to_refund(heading: Heading, order: RefundOrder, now: datetime) -> Decimal:
    """What is given back by hand: the amount that is said, or all that the customer is to get back.

    Raises:
        Conflict: nothing is to be given back.
        InvalidRequest: the amount is nothing, more than that, or has a part of a minor unit; it is yet to happen; or
            its reference is too long.
    """
    _check_is_past(order.refunded_at, "refunded_at", now)
    _check_reference(order.reference)
    surplus = heading.balance.copy_negate()
    if surplus <= 0:
        raise Conflict(f"Nothing of {heading.number} is to be given back: a credit note says what is.")
    said = "A refund is more than 0 and at most what is to be given back"
    return _amount_within(order.amount, surplus, said, heading)


def _check_is_past(at: datetime | None, field: str, now: datetime) -> None:
    if at is not None:
        instants.check(at, field)
        if at > now:
            raise InvalidRequest("What is marked has happened already.", field=field)


def _check_reference(reference: str | None) -> None:
    if reference is not None and not 1 <= len(reference) <= REFERENCE_CHARACTERS_MAX:
        raise InvalidRequest(f"A reference has 1 to {REFERENCE_CHARACTERS_MAX} characters.", field="reference")


def _amount_within(said: Decimal | None, most: Decimal, rule: str, heading: Heading) -> Decimal:
    amount = most if said is None else said
    if not 0 < amount <= most:
        raise InvalidRequest(f"{rule}, {document.rounded(most, heading.currency)} {heading.currency}.", field="amount")
    check_whole_units(amount, heading.currency, "amount")
    return amount


def check_whole_units(amount: Decimal, currency: str, field: str) -> None:
    """What is paid, given back or credited can be counted in coins.

    Raises:
        InvalidRequest: it has a part of a minor unit.
    """
    if money.from_minor_units(money.to_minor_units(amount, currency), currency) != amount:
        raise InvalidRequest(f"The amount has a part of a minor unit of {currency}.", field=field)


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


def grant_of(payment: Payment) -> GrantId:
    """The grant that a refund by credit becomes."""
    return GrantId(derived_id(payment.id, "grant"))


def postings(heading: Heading, payment: Payment) -> tuple[Transfer, ...]:
    """What the payment does to the ledger: money arrives and is owed no more, or goes back and is owed again.

    What is paid on an invoice that was given up comes back from what was given up, so that it is owed when it is paid;
    what goes back from such an invoice is given up as the rest of it is.
    """
    cause, now = ("payment", payment.id), payment.recorded_at
    moved = tuple(_money(payment))
    return (*moved, *written_off(heading, after(heading, payment), cause=cause, of=payment.id, now=now))


def _money(payment: Payment) -> Iterator[Transfer]:
    account = _account(payment)
    debit, credit = (account, RECEIVABLE) if payment.kind.comes_in else (RECEIVABLE, account)
    by_credit = payment.method is PaymentMethod.CREDIT
    yield Transfer(
        organization_id=payment.organization_id,
        id=funding_id(grant_of(payment)) if by_credit else derived_id(payment.id, f"{debit}:{credit}"),
        debit_account=debit,
        credit_account=credit,
        amount=payment.amount,
        currency=payment.currency,
        cause="payment",
        cause_id=payment.id,
        reverses_id=None,
        occurred_at=payment.occurred_at,
        posted_at=payment.recorded_at,
    )


def _account(payment: Payment) -> str:
    match payment.method:
        case PaymentMethod.MANUAL:
            return CASH
        case PaymentMethod.STRIPE:
            return STRIPE_CLEARING
        case PaymentMethod.CREDIT:
            return credits_of(grant_of(payment))


def lost(heading: Heading) -> Decimal:
    """What of the invoice is given up: all that is due on an uncollectible one."""
    return heading.amount_due if heading.status is InvoiceStatus.UNCOLLECTIBLE else money.ZERO


def written_off(
    before: Heading, after: Heading, *, cause: tuple[str, UUID], of: UUID, now: datetime
) -> tuple[Transfer, ...]:
    """What moves between RECEIVABLE and UNCOLLECTIBLE when the invoice comes from `before` to `after`.

    The transfer's id follows from `of`.
    """
    change = money.EXACT.subtract(lost(after), lost(before))
    if change == 0:
        return ()
    debit, credit = (UNCOLLECTIBLE, RECEIVABLE) if change > 0 else (RECEIVABLE, UNCOLLECTIBLE)
    return (
        Transfer(
            organization_id=before.organization_id,
            id=derived_id(of, f"{debit}:{credit}"),
            debit_account=debit,
            credit_account=credit,
            amount=abs(change),
            currency=before.currency,
            cause=cause[0],
            cause_id=cause[1],
            reverses_id=None,
            occurred_at=now,
            posted_at=now,
        ),
    )
