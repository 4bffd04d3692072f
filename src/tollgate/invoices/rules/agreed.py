"""What the terms of an organization put on an invoice beside usage: fees, commitments, discounts and tax."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeAlias

from tollgate.agreements.model import Agreement, AgreementKind, TaxTerms, TaxTreatment
from tollgate.agreements.rules import billing, terms
from tollgate.invoices.model import NO_TAX, Agreed, LineType, Month, Tax, Terms, Usage
from tollgate.kit import money

Entry: TypeAlias = tuple[LineType, Agreed, Decimal]
"""A line before it is rounded."""


@dataclass(frozen=True, slots=True)
class Used:
    """What was used in a month, and what credits did not pay of it."""

    amount: Decimal = money.ZERO
    unpaid: Decimal = money.ZERO


def used_by_month(usages: Sequence[Usage], month: Month) -> dict[Month, Used]:
    """The month's own usage, and late usage by the month that it is from."""
    found: dict[Month, Used] = {}
    for usage in usages:
        origin, billed = usage.origin or month, usage.billed
        before = found.get(origin, Used())
        unpaid = money.EXACT.subtract(billed.amount, billed.credits_amount)
        found[origin] = Used(money.EXACT.add(before.amount, billed.amount), money.EXACT.add(before.unpaid, unpaid))
    return found


def fees(agreed: Terms, month: Month) -> Iterator[Entry]:
    """The month's part of every subscription's fee, and that of a month that closed before it was agreed."""
    for subscription in _of(agreed, AgreementKind.SUBSCRIPTION):
        each = Month(subscription.starts_on.year, subscription.starts_on.month)
        while each <= month:
            if _is_due(agreed, each, month) and (subscription.id, each) not in agreed.invoiced.fees:
                amount = terms.fee(subscription, each.days)
                if amount:
                    yield _entry(LineType.FEE, subscription, _fee_wording(subscription, each), amount, each, month)
            each = each.following


def _is_due(agreed: Terms, each: Month, month: Month) -> bool:
    """Whether this is the month's invoice, or the month can have none of its own any more."""
    return each == month or (agreed.open_from is not None and each < agreed.open_from)


def _fee_wording(subscription: Agreement, month: Month) -> str:
    days, whole = subscription.days_in(month.days), len(month.days)
    if len(days) == whole:
        return f"{subscription.name}, {month.name}"
    return f"{subscription.name}, {days.start} to {days.last}, {len(days)} of {whole} days"


def commitments(agreed: Terms, month: Month, used: Mapping[Month, Used]) -> Iterator[Entry]:
    """What the month's own usage, before discounts and credits, lacks to the minimum."""
    for commitment in _of(agreed, AgreementKind.COMMITMENT):
        if commitment.covers(month.days):
            missing = terms.missing(commitment, used.get(month, Used()).amount)
            if missing:
                least = f"{money.amount_text(commitment.amount or money.ZERO)} {commitment.currency}"
                wording = f"Minimum commitment of {least}, {month.name}"
                yield _entry(LineType.COMMITMENT, commitment, wording, missing, month, month)


def commitments_used_up(agreed: Terms, month: Month, used: Mapping[Month, Used], due: Decimal) -> Iterator[Entry]:
    """What late usage makes up for of commitments that were charged for its month, the oldest first.

    It never takes more than was charged, however often usage is late, and never more than is `due`: what an invoice
    has no room for is taken from the next.
    """
    topped_up = agreed.invoiced.topped_up
    commitments_by_id = {each.id: each for each in _of(agreed, AgreementKind.COMMITMENT)}
    for agreement_id, origin in sorted(topped_up, key=lambda place: (place[1], str(place[0]))):
        if origin == month or agreement_id not in commitments_by_id:
            continue
        late = money.EXACT.add(agreed.invoiced.late.get(origin, money.ZERO), used.get(origin, Used()).amount)
        made_up = min(late, topped_up[agreement_id, origin])
        open_part = money.EXACT.subtract(made_up, agreed.invoiced.used_up.get((agreement_id, origin), money.ZERO))
        part = min(open_part, due)
        if part > 0:
            wording = f"Minimum commitment of {origin.name}, made up for by late usage"
            commitment = commitments_by_id[agreement_id]
            yield _entry(LineType.COMMITMENT, commitment, wording, part.copy_negate(), origin, month)
            due = money.EXACT.subtract(due, part)


def discounts(agreed: Terms, month: Month, used: Mapping[Month, Used]) -> Iterator[Entry]:
    """What discounts take off the usage that credits did not pay, each month's by the discount of that month."""
    for origin in sorted(used, key=lambda each: (each != month, each)):
        for discount in _of(agreed, AgreementKind.DISCOUNT):
            if discount.covers(origin.days):
                off = terms.discount(discount, max(used[origin].unpaid, money.ZERO))
                if off:
                    of = "" if origin == month else f" on usage of {origin.name}"
                    wording = f"Discount of {money.amount_text(discount.percent or money.ZERO)} %{of}"
                    yield _entry(LineType.DISCOUNT, discount, wording, off.copy_negate(), origin, month)


def _of(agreed: Terms, kind: AgreementKind) -> list[Agreement]:
    return [agreement for agreement in agreed.agreements if agreement.kind is kind]


def _entry(line: LineType, agreement: Agreement, wording: str, amount: Decimal, origin: Month, month: Month) -> Entry:
    return line, Agreed(agreement.id, wording, None if origin == month else origin), amount


def tax(net: Decimal, how: TaxTerms, currency: str) -> Tax:
    """The tax on an invoice whose other lines come to this, rounded: the net, or with inclusive tax the gross."""
    if how.treatment is TaxTreatment.NONE:
        return NO_TAX
    return Tax(how.treatment, how.label, how.rate, billing.tax_on(net, how, currency), billing.note_of(how))


def tax_lines(charged: Tax) -> Iterator[tuple[Agreed, Decimal]]:
    """The line of tax that is added; other tax has none, and neither has none."""
    if charged.treatment is TaxTreatment.EXCLUSIVE and charged.amount:
        yield Agreed(None, f"{charged.label} {money.amount_text(charged.rate)} %"), charged.amount


def are_due_between(agreed: Terms, first: Month, month: Month) -> bool:
    """Whether a fee or a minimum is due for a month from the first one on and before the other: it closes first."""
    each = first
    while each < month:
        if any(agreement.covers(each.days) for agreement in _of(agreed, AgreementKind.COMMITMENT)):
            return True
        if any(terms.fee(agreement, each.days) for agreement in _of(agreed, AgreementKind.SUBSCRIPTION)):
            return True
        each = each.following
    return False


def after_the_skipped(agreed: Terms) -> Terms:
    """The terms of a draft while an earlier month is still open: that one will take everything that comes late."""
    return replace(agreed, open_from=None, invoiced=replace(agreed.invoiced, topped_up={}))
