"""The lines of an invoice, and the one place where it is rounded."""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import reduce
from typing import TypeAlias

from tollgate.accounts.model import Organization
from tollgate.invoices.model import (
    Adjusted,
    Adjustments,
    Contribution,
    Heading,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineType,
    Month,
    PricedUsage,
    Totals,
    Usage,
    Window,
)
from tollgate.invoices.rules.windows import invoice_id
from tollgate.kit import money
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import Adjustment, Favour
from tollgate.metering.model import BilledUsage, CallSummary
from tollgate.pricing.model import Unit
from tollgate.pricing.rules import amount_of

_KIND_ORDER = {kind: place for place, kind in enumerate(Kind)}
_NO_ADJUSTMENTS = Adjustments()
_Said: TypeAlias = PricedUsage | Adjusted | None


def draft(
    organization: Organization,
    month: Month,
    window: Window,
    usages: Sequence[Usage],
    adjustments: Adjustments = _NO_ADJUSTMENTS,
) -> Invoice:
    """The month's invoice as it would be if it were issued over this usage and these adjustments."""
    lines = lines_of(usages, adjustments, organization.currency)
    heading = Heading(
        organization_id=organization.id,
        id=invoice_id(organization.id, organization.currency, month),
        number=None,
        status=InvoiceStatus.DRAFT,
        kind=InvoiceKind.USAGE,
        currency=organization.currency,
        month=month,
        window=window,
        timezone=organization.timezone,
        billing_mode=organization.billing_mode,
        customer_name=organization.name,
        totals=_totals(lines),
        issued_at=None,
        due_at=None,
        paid_at=None,
    )
    return Invoice(
        heading, lines, unpriced=tuple(each.billed for each in usages if lacks_price(each.billed)), document=None
    )


def lines_of(usages: Sequence[Usage], adjustments: Adjustments, currency: str) -> tuple[Line, ...]:
    """The lines in reading order: each sum of usage that has a price, each adjustment, and the credits that were spent.

    A favour pays what would be left due without it, the oldest first, and nothing beyond: an invoice is never below
    zero, and what is left of the favour stays credit.
    """
    used: list[tuple[_Said, Decimal]] = [*sorted(_priced(usages), key=lambda pair: _reading_order(pair[0]))]
    charged = [(_adjusted(charge), charge.amount.copy_negate()) for charge in adjustments.charges]
    spent = _sum(each.billed.credits_amount for each in usages)
    spent = _sum((spent, *(charge.credits_amount for charge in adjustments.charges)))
    due = money.EXACT.subtract(_sum(amount for _, amount in (*used, *charged)), spent)
    entries = [*used, *charged, *_favours(adjustments.favours, due)]
    if spent:
        entries.append((None, spent.copy_negate()))
    rounded = apportion([amount for _, amount in entries], currency)
    return tuple(
        _line(n, said, exact, amount)
        for n, ((said, exact), amount) in enumerate(zip(entries, rounded, strict=True), start=1)
    )


def _favours(favours: Sequence[Favour], due: Decimal) -> Iterator[tuple[_Said, Decimal]]:
    for favour in favours:
        part = min(favour.remaining, due)
        if part > 0:
            yield _adjusted(favour.adjustment), part.copy_negate()
            due = money.EXACT.subtract(due, part)


def _adjusted(adjustment: Adjustment) -> Adjusted:
    return Adjusted(adjustment.id, adjustment.reason)


def _line(n: int, said: _Said, exact: Decimal, amount: Decimal) -> Line:
    match said:
        case PricedUsage():
            return Line(n, LineType.USAGE, said, None, exact, amount)
        case Adjusted():
            return Line(n, LineType.ADJUSTMENT, None, said, exact, amount)
        case None:
            return Line(n, LineType.CREDITS, None, None, exact, amount)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(money.EXACT.add, amounts, money.ZERO)


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


def _totals(lines: Sequence[Line]) -> Totals:
    sums = dict.fromkeys(LineType, (money.ZERO, money.ZERO))
    for line in lines:
        exact, rounded = sums[line.type]
        sums[line.type] = (money.EXACT.add(exact, line.amount_exact), money.EXACT.add(rounded, line.amount))
    (usage_exact, usage), (adjustments_exact, adjustments) = sums[LineType.USAGE], sums[LineType.ADJUSTMENT]
    credits_exact, credits_rounded = sums[LineType.CREDITS]
    return Totals(
        subtotal_exact=usage_exact,
        adjustments_exact=adjustments_exact,
        credits_exact=credits_exact,
        total_exact=_sum((usage_exact, adjustments_exact, credits_exact)),
        subtotal=usage,
        adjustments=adjustments,
        credits=credits_rounded,
        total=_sum((usage, adjustments, credits_rounded)),
    )


def contribution(usage: PricedUsage, call: CallSummary) -> Contribution:
    """The call's part of a usage line: its quantity of the line's kind, at the line's price."""
    quantity = call.quantities[usage.kind]
    return Contribution(call, usage, quantity, amount_of(quantity, usage.unit_price, usage.unit))
