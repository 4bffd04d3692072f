"""The lines of an invoice, and the one place where it is rounded."""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TypeAlias

from tollgate.accounts.model import Organization
from tollgate.invoices.model import (
    NO_TERMS,
    Adjusted,
    Adjustments,
    Agreed,
    Contribution,
    Heading,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineType,
    Month,
    PricedUsage,
    Tax,
    Terms,
    Totals,
    Usage,
    Window,
)
from tollgate.invoices.rules import agreed
from tollgate.invoices.rules.windows import invoice_id
from tollgate.kit import money
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import Adjustment, Favour
from tollgate.metering.model import BilledUsage, CallSummary
from tollgate.pricing.model import Unit
from tollgate.pricing.rules import amount_of

_KIND_ORDER = {kind: place for place, kind in enumerate(Kind)}
_NO_ADJUSTMENTS = Adjustments()
_Said: TypeAlias = PricedUsage | Adjusted | Agreed | None
_Entry: TypeAlias = tuple[LineType, _Said, Decimal]


def draft(
    organization: Organization,
    month: Month,
    window: Window,
    usages: Sequence[Usage],
    adjustments: Adjustments = _NO_ADJUSTMENTS,
    terms: Terms = NO_TERMS,
) -> Invoice:
    """The month's invoice as it would be if it were issued over this usage and these adjustments, on these terms."""
    currency = organization.currency
    net = lines_of(usages, adjustments, currency, month=month, terms=terms)
    tax = agreed.tax(money.total(line.amount for line in net), terms.billing.tax, currency)
    lines = (*net, *_tax_lines(tax, after=len(net)))
    heading = Heading(
        organization_id=organization.id,
        id=invoice_id(organization.id, currency, month),
        number=None,
        status=InvoiceStatus.DRAFT,
        kind=InvoiceKind.USAGE,
        currency=currency,
        month=month,
        window=window,
        timezone=organization.timezone,
        billing_mode=organization.billing_mode,
        customer_name=organization.name,
        totals=totals(lines),
        issued_at=None,
        due_at=None,
        paid_at=None,
        tax=tax,
    )
    unpriced = tuple(each.billed for each in usages if lacks_price(each.billed))
    return Invoice(heading, lines, unpriced, document=None, terms=terms)


def lines_of(
    usages: Sequence[Usage], adjustments: Adjustments, currency: str, *, month: Month, terms: Terms = NO_TERMS
) -> tuple[Line, ...]:
    """All lines but tax, in reading order; their sum is the net, and is rounded once.

    Commitments that were charged before, and then favours, take from what would be left due without them, the oldest
    first, and nothing beyond: an invoice is never below zero, and what is left of them stays for the next.
    """
    used = agreed.used_by_month(usages, month)
    spent = money.total(each.billed.credits_amount for each in usages)
    spent = money.total((spent, *(charge.credits_amount for charge in adjustments.charges)))
    credits_applied: list[_Entry] = [(LineType.CREDITS, None, spent.copy_negate())] if spent else []
    charges: list[_Entry] = [
        (LineType.ADJUSTMENT, _adjusted(charge), charge.amount.copy_negate()) for charge in adjustments.charges
    ]
    priced = sorted(_priced(usages), key=lambda pair: _reading_order(pair[0]))
    entries: list[_Entry] = [
        *((LineType.USAGE, said, amount) for said, amount in priced),
        *agreed.fees(terms, month),
        *agreed.commitments(terms, month, used),
        *agreed.discounts(terms, month, used),
    ]
    entries += agreed.commitments_used_up(terms, month, used, due=_due(*entries, *charges, *credits_applied))
    entries += charges
    entries += _favours(adjustments.favours, due=_due(*entries, *credits_applied))
    entries += credits_applied
    rounded = apportion([amount for _, _, amount in entries], currency)
    return tuple(
        _line(n, entry, amount) for n, (entry, amount) in enumerate(zip(entries, rounded, strict=True), start=1)
    )


def _due(*entries: _Entry) -> Decimal:
    return money.total(amount for _, _, amount in entries)


def _favours(favours: Sequence[Favour], due: Decimal) -> Iterator[_Entry]:
    for favour in favours:
        part = min(favour.remaining, due)
        if part > 0:
            yield LineType.ADJUSTMENT, _adjusted(favour.adjustment), part.copy_negate()
            due = money.EXACT.subtract(due, part)


def _adjusted(adjustment: Adjustment) -> Adjusted:
    return Adjusted(adjustment.id, adjustment.reason)


def _line(n: int, entry: _Entry, amount: Decimal) -> Line:
    kind, said, exact = entry
    return Line(
        n,
        kind,
        usage=said if isinstance(said, PricedUsage) else None,
        adjusted=said if isinstance(said, Adjusted) else None,
        amount_exact=exact,
        amount=amount,
        agreed=said if isinstance(said, Agreed) else None,
    )


def _tax_lines(tax: Tax, *, after: int) -> Iterator[Line]:
    for n, (said, amount) in enumerate(agreed.tax_lines(tax), start=after + 1):
        yield _line(n, (LineType.TAX, said, amount), amount)


def _priced(usages: Sequence[Usage]) -> Iterator[tuple[PricedUsage, Decimal]]:
    for usage in usages:
        billed = usage.billed
        if billed.unit is not None and billed.unit_price is not None:
            priced = PricedUsage(
                project_id=billed.project_id,
                project_name=usage.project_name,
                model=billed.model,
                kind=billed.kind,
                tier=billed.tier,
                price_version_id=billed.price_version_id,
                unit=Unit(billed.unit),
                unit_price=billed.unit_price,
                quantity=billed.quantity,
                origin=usage.origin,
            )
            yield priced, billed.amount


def _reading_order(usage: PricedUsage) -> tuple[object, ...]:
    """The period's own usage first; then by project, those without one last, model, kind, tier and price."""
    return (
        usage.origin.name if usage.origin else "",
        usage.project_name is None,
        usage.project_name or "",
        str(usage.project_id),
        usage.model,
        _KIND_ORDER[usage.kind],
        usage.tier,
        usage.unit_price,
        str(usage.price_version_id),
    )


def lacks_price(usage: BilledUsage) -> bool:
    """Whether the usage cannot be billed yet.

    A request always can, because most price versions have no item for it, and what insured calls used never is.
    """
    return usage.unit_price is None and usage.kind is not Kind.REQUEST and usage.price_version_id is not None


def apportion(amounts: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Round the sum of the amounts once, half away from zero, and give each amount its part by largest remainder.

    The parts are whole minor units, add up to the rounded sum, and each is less than one minor unit from its amount.
    Equal remainders are served in order.
    """
    total = money.ZERO
    scaled = []
    for amount in amounts:
        total = money.EXACT.add(total, amount)
        scaled.append(amount.scaleb(money.minor_unit_decimals(currency), money.EXACT))
    units = [math.floor(each) for each in scaled]
    by_remainder = sorted(range(len(units)), key=lambda place: units[place] - scaled[place])
    for place in by_remainder[: money.to_minor_units(total, currency) - sum(units)]:
        units[place] += 1
    return [money.from_minor_units(each, currency) for each in units]


def totals(lines: Sequence[Line]) -> Totals:
    """What the lines come to, type by type and together."""
    sums = {"total": money.ZERO, "total_exact": money.ZERO}
    for kind in LineType:
        of_kind = [line for line in lines if line.type is kind]
        sums[kind.total] = money.total(line.amount for line in of_kind)
        sums[f"{kind.total}_exact"] = money.total(line.amount_exact for line in of_kind)
        sums["total"] = money.EXACT.add(sums["total"], sums[kind.total])
        sums["total_exact"] = money.EXACT.add(sums["total_exact"], sums[f"{kind.total}_exact"])
    return Totals(**sums)


def contribution(usage: PricedUsage, call: CallSummary) -> Contribution:
    """The call's part of a usage line: its quantity of the line's kind, at the line's price."""
    quantity = call.quantities[usage.kind]
    return Contribution(call, usage, quantity, amount_of(quantity, usage.unit_price, usage.unit))
