"""What may be refunded, from which payments, and what refunds and disputes do to invoices, grants and the ledger."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.invoices.model import Heading, Payment, PaymentKind, PaymentMethod
from tollgate.invoices.rules import document
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import GrantId, OrganizationId, PaymentId, derived_id
from tollgate.ledger.model import RECEIVABLE, REFUNDABLE, STRIPE_CLEARING, TAX, Transfer, credits_of, grant_of
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
            f"A refund is more than 0 and at most what is owed, {document.rounded(owed, heading.currency)} "
            f"{heading.currency}.",
            field="amount",
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


@dataclass(frozen=True, slots=True)
class Gone:
    """What has gone back of a top-up and did not come again, and how much of it was tax."""

    amount: Decimal = money.ZERO
    tax: Decimal = money.ZERO


def gone(known: Sequence[tuple[RefundRow | DisputeRow, Sequence[Transfer]]]) -> Gone:
    """What the refunds and disputes of a top-up, each with what it posted, leave gone."""
    amounts = [row.gone for row, _ in known]
    taxes = [posted_parts(transfers).tax for row, transfers in known if row.gone > 0]
    return Gone(money.total(amounts), money.total(taxes))


def parts(row: RefundRow | DisputeRow, top_up: TopUp, remaining: Decimal, *, kept: Decimal, before: Gone) -> Parts:
    """How what goes back is made up: tax in proportion, then credit and what is kept, as far as they last.

    The tax of all that has gone back is in proportion, not of each part: so no cent of it is left when all is back.
    """
    whole, tax = (money.to_minor_units(each, row.currency) for each in (top_up.total, top_up.tax))
    units = money.to_minor_units(money.EXACT.add(before.amount, row.amount), row.currency) * tax
    all_tax = money.from_minor_units((2 * units + whole) // (2 * whole), row.currency)
    tax_part = max(money.ZERO, min(money.EXACT.subtract(all_tax, before.tax), row.amount))
    net = money.EXACT.subtract(row.amount, tax_part)
    credit = min(net, remaining)
    rest = money.EXACT.subtract(net, credit)
    from_kept = min(rest, kept)
    return Parts(credit, tax_part, from_kept, money.EXACT.subtract(rest, from_kept))


def posted_parts(transfers: Sequence[Transfer]) -> Parts:
    """How what went back was made up, by what was posted when it did."""
    out = [each for each in transfers if each.credit_account == STRIPE_CLEARING]
    return Parts(
        credit=money.total(each.amount for each in out if grant_of(each.debit_account) is not None),
        tax=money.total(each.amount for each in out if each.debit_account == TAX),
        kept=money.total(each.amount for each in out if each.debit_account == REFUNDABLE),
        owed=money.total(each.amount for each in out if each.debit_account == RECEIVABLE),
    )


def taken_back(row: RefundRow | DisputeRow, taken: Parts, grant_id: GrantId, *, now: datetime) -> list[Transfer]:
    """The transfers by which that goes back."""
    moves = ((credits_of(grant_id), taken.credit), (TAX, taken.tax), (REFUNDABLE, taken.kept), (RECEIVABLE, taken.owed))
    return [_transfer(row, account, STRIPE_CLEARING, amount, now) for account, amount in moves if amount > 0]


def given_again(row: RefundRow | DisputeRow, taken: Parts, *, now: datetime) -> list[Transfer]:
    """The transfers by which money that came back to us after all is kept again, or not owed any more.

    Credit is made again of what is kept.
    """
    kept = money.EXACT.add(taken.credit, taken.kept)
    moves = ((TAX, taken.tax), (REFUNDABLE, kept), (RECEIVABLE, taken.owed))
    return [_transfer(row, STRIPE_CLEARING, account, amount, now) for account, amount in moves if amount > 0]


def cause_of(row: RefundRow | DisputeRow) -> str:
    """What the ledger calls the cause of what the row moves."""
    return "refund" if isinstance(row, RefundRow) else "dispute"


def _transfer(row: RefundRow | DisputeRow, debit: str, credit: str, amount: Decimal, now: datetime) -> Transfer:
    return Transfer(
        organization_id=row.organization_id,
        id=derived_id(row.id, f"{debit}:{credit}"),
        debit_account=debit,
        credit_account=credit,
        amount=amount,
        currency=row.currency,
        cause=cause_of(row),
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
