"""What may be refunded, from which payments, and what refunds and disputes do to invoices, grants and the ledger."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.invoices.model import Heading, Payment, PaymentKind, PaymentMethod
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import GrantId, OrganizationId, PaymentId, derived_id
from tollgate.ledger.model import RECEIVABLE, REFUNDABLE, STRIPE_CLEARING, TAX, Transfer, credits_of
from tollgate.payments.model import Dispute, Refund, RefundState
from tollgate.payments.records import TopUp
from tollgate.payments.states import DisputeRow, Paid, RefundRow, RefundStatus

_ROW_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TURNED_BACK = frozenset({RefundState.FAILED, RefundState.CANCELED})


def amount_to_refund(heading: Heading, wanted: Decimal | None, under_way: Decimal) -> Decimal:
    """What goes back: what is said, or all that the customer is to get back and that is not under way already.

    Raises:
        Conflict: there is nothing to give back; credit the invoice first.
        InvalidRequest: the amount is nothing, more than that, or has a part of a minor unit.
    """
    owed = money.EXACT.subtract(heading.balance.copy_negate(), under_way)
    if owed <= 0:
        raise Conflict(
            f"Nothing is to be given back on {heading.number}: issue a credit note first, for what is to be refunded."
        )
    amount = owed if wanted is None else wanted
    if not 0 < amount <= owed:
        raise InvalidRequest(
            f"A refund is more than 0 and at most what is owed, {owed} {heading.currency}.", field="amount"
        )
    if money.from_minor_units(money.to_minor_units(amount, heading.currency), heading.currency) != amount:
        raise InvalidRequest(f"A refund is of whole minor units of {heading.currency}.", field="amount")
    return amount


def net_paid(payments: Sequence[Payment]) -> dict[str, Decimal]:
    """What is left of each payment at Stripe, by its payment intent, newest first."""
    left: dict[str, Decimal] = {}
    for payment in payments:
        if payment.method is PaymentMethod.STRIPE and payment.reference is not None:
            change = payment.amount if payment.kind.comes_in else payment.amount.copy_negate()
            left[payment.reference] = money.EXACT.add(left.get(payment.reference, money.ZERO), change)
    return dict(reversed(left.items()))


def shares(amount: Decimal, left: Mapping[str, Decimal]) -> list[tuple[str, Decimal]]:
    """From which payments so much goes back: from the first of them as far as it lasts, then the next.

    Raises:
        Conflict: not so much was paid at Stripe; the rest is to be given back by hand.
    """
    found: list[tuple[str, Decimal]] = []
    rest = amount
    for reference, available in left.items():
        part = min(rest, available)
        if part > 0:
            found.append((reference, part))
            rest = money.EXACT.subtract(rest, part)
    if rest > 0:
        raise Conflict(
            f"Only {money.amount_text(money.EXACT.subtract(amount, rest))} of it was paid at Stripe and is there to "
            "give back: give the rest back as it was paid, and record that."
        )
    return found


def status_of(refund: Refund) -> RefundStatus:
    """Where Stripe's refund stands."""
    if refund.state in _TURNED_BACK:
        return RefundStatus.FAILED
    return RefundStatus.SUCCEEDED if refund.state is RefundState.SUCCEEDED else RefundStatus.SENT


def payment_of(
    paid: Paid, kind: PaymentKind, cause: str, amount: Decimal, times: tuple[datetime, datetime]
) -> Payment | None:
    """What a payment, refund or dispute at Stripe is in the books of an invoice; `None` if it is of a top-up.

    `cause` is the id of Stripe's object, from which the row's id follows: told again, it is recorded once. The times
    are when it happened, and now.
    """
    if paid.invoice_id is None:
        return None
    return Payment(
        organization_id=paid.organization_id,
        id=PaymentId(derived_id(paid.invoice_id, f"stripe:{cause}:{kind}")),
        invoice_id=paid.invoice_id,
        kind=kind,
        method=PaymentMethod.STRIPE,
        amount=amount,
        currency=paid.currency,
        reference=paid.payment_intent_id,
        occurred_at=times[0],
        recorded_at=times[1],
        recorded_by=None,
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes back of a top-up is made up of."""

    credit: Decimal
    """Of what is left of its credit."""
    tax: Decimal
    """Of the tax on it."""
    kept: Decimal
    """Of what was kept for the customer when credit was voided."""
    owed: Decimal
    """What the customer owes, as it is spent."""


def parts(row: RefundRow | DisputeRow, top_up: TopUp, remaining: Decimal, *, kept: Decimal, back: Decimal) -> Parts:
    """How what goes back is made up: its part of the tax, then credit and what is kept, as far as they last.

    `back` is what of the top-up had gone back before: the tax of all parts together is that of their sum, so that once
    all went back, in however many parts, nothing of it is left.
    """
    tax = money.EXACT.subtract(_tax_in(top_up, money.EXACT.add(back, row.amount)), _tax_in(top_up, back))
    net = money.EXACT.subtract(row.amount, tax)
    credit = min(net, remaining)
    rest = money.EXACT.subtract(net, credit)
    from_kept = min(rest, kept)
    return Parts(credit, tax, from_kept, money.EXACT.subtract(rest, from_kept))


def _tax_in(top_up: TopUp, amount: Decimal) -> Decimal:
    """The tax in so much of what was paid, half a minor unit rounded up."""
    part, tax, whole = (money.to_minor_units(each, top_up.currency) for each in (amount, top_up.tax, top_up.total))
    return money.from_minor_units((2 * part * tax + whole) // (2 * whole), top_up.currency)


def cause(row: RefundRow | DisputeRow) -> tuple[str, UUID]:
    """Why its transfers are posted."""
    return "refund" if isinstance(row, RefundRow) else "dispute", row.id


def taken_back(row: RefundRow | DisputeRow, taken: Parts, grant_id: GrantId, *, now: datetime) -> list[Transfer]:
    """The transfers by which that goes back."""
    moves = ((credits_of(grant_id), taken.credit), (TAX, taken.tax), (REFUNDABLE, taken.kept), (RECEIVABLE, taken.owed))
    return [_transfer(row, account, STRIPE_CLEARING, amount, now) for account, amount in moves if amount > 0]


def taken_from_kept(caused: Sequence[Transfer]) -> Decimal:
    """What of these transfers was taken from what is kept for the customer."""
    taken = money.ZERO
    for transfer in caused:
        if (transfer.debit_account, transfer.credit_account) == (REFUNDABLE, STRIPE_CLEARING):
            taken = money.EXACT.add(taken, transfer.amount)
    return taken


def given_again(row: RefundRow | DisputeRow, taken: Parts, *, now: datetime) -> list[Transfer]:
    """The transfers by which money that came back to us after all is kept again, or not owed any more.

    Credit is made again of what is kept.
    """
    kept = money.EXACT.add(taken.credit, taken.kept)
    moves = ((TAX, taken.tax), (REFUNDABLE, kept), (RECEIVABLE, taken.owed))
    return [_transfer(row, STRIPE_CLEARING, account, amount, now) for account, amount in moves if amount > 0]


def _transfer(row: RefundRow | DisputeRow, debit: str, credit: str, amount: Decimal, now: datetime) -> Transfer:
    return Transfer(
        organization_id=row.organization_id,
        id=derived_id(row.id, f"{debit}:{credit}"),
        debit_account=debit,
        credit_account=credit,
        amount=amount,
        currency=row.currency,
        cause=cause(row)[0],
        cause_id=row.id,
        reverses_id=None,
        occurred_at=row.created_at,
        posted_at=now,
    )


def marked(text: str | None) -> UUID | None:
    """The id of ours in a refund's metadata; `None` for none, or for what others write there."""
    return None if text is None or _ROW_ID.fullmatch(text) is None else UUID(text)


def is_made_for(ours: RefundRow, refund: Refund) -> bool:
    """Whether Stripe's refund is what our row asked for, and not another one that bears its mark."""
    said = (ours.payment_intent_id, ours.amount, ours.currency)
    is_first = ours.stripe_refund_id in {None, refund.id}
    return is_first and said == (refund.payment_intent_id, refund.amount, refund.currency)


def refund_id(owner: OrganizationId, stripe_refund_id: str) -> UUID:
    """The id of our row for a refund that was begun at Stripe."""
    return derived_id(owner, f"refund:{stripe_refund_id}")


def dispute_id(owner: OrganizationId, stripe_dispute_id: str) -> UUID:
    """The id of our row for a dispute."""
    return derived_id(owner, f"dispute:{stripe_dispute_id}")


def disputed(before: DisputeRow | None, paid: Paid, dispute: Dispute, *, now: datetime) -> DisputeRow:
    """Our row of the dispute as it stands: what was taken, and what came back, follows from what moved."""
    taken = any(moved.amount < 0 for moved in dispute.balance_transactions)
    returned = any(moved.amount > 0 for moved in dispute.balance_transactions)
    row = DisputeRow(
        organization_id=paid.organization_id,
        id=dispute_id(paid.organization_id, dispute.id),
        stripe_dispute_id=dispute.id,
        payment_intent_id=paid.payment_intent_id,
        invoice_id=paid.invoice_id,
        top_up_id=paid.top_up_id,
        amount=dispute.amount,
        currency=dispute.currency,
        status=dispute.status,
        reason=dispute.reason,
        withdrawn=dispute.amount if taken else money.ZERO,
        returned=dispute.amount if returned else money.ZERO,
        from_credit=money.ZERO if before is None else before.from_credit,
        created_at=dispute.created_at,
        updated_at=now,
    )
    if before is not None and replace(row, updated_at=before.updated_at) == before:
        return before
    return row
