"""What may be agreed, when it may end, and what a month costs under it."""

import decimal
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from tollgate.accounts.model import Organization
from tollgate.agreements.model import Agreement, AgreementKind, AgreementOrder, Days
from tollgate.agreements.rules.billing import check_line
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import AgreementId, KeyId
from tollgate.kit.instants import YEARS
from tollgate.ledger.model import AMOUNT_MAX

PERCENT_DECIMALS = 4
_MONTHS = 12
_WIDE = decimal.Context(prec=2 * money.EXACT.prec, traps=[decimal.Inexact, decimal.InvalidOperation])
"""For a product that is rounded at once."""


def check_order(order: AgreementOrder, organization: Organization) -> None:
    """Whether this may be agreed with the organization, whatever else was.

    Raises:
        InvalidRequest: it may not; `field` names the part as the routes do.
    """
    if order.currency is not None and order.currency != organization.currency:
        raise InvalidRequest(
            f"This organization is invoiced in {organization.currency}; nothing else can be agreed.", field="currency"
        )
    if order.kind is AgreementKind.DISCOUNT:
        _check_percent(order.percent)
    else:
        _check_amount(order, organization.currency)
    if order.kind is AgreementKind.SUBSCRIPTION:
        check_line(order.name or "", "name")
    _check_days(order, organization)


def _check_percent(percent: Decimal | None) -> None:
    if percent is None or not 0 < percent <= 100 or money.decimals_of(percent) > PERCENT_DECIMALS:  # noqa: PLR2004
        raise InvalidRequest(
            f"A discount is above 0 and at most 100 percent, with at most {PERCENT_DECIMALS} decimals.", field="percent"
        )


def _check_amount(order: AgreementOrder, currency: str) -> None:
    field = "fee" if order.kind is AgreementKind.SUBSCRIPTION else "amount"
    amount = order.amount
    if amount is None or not 0 < amount <= AMOUNT_MAX:
        raise InvalidRequest(f"{field}: more than 0 and at most {AMOUNT_MAX} {currency}.", field=field)
    if money.from_minor_units(money.to_minor_units(amount, currency), currency) != amount:
        raise InvalidRequest(f"{field}: whole minor units of {currency}.", field=field)


def _check_days(order: AgreementOrder, organization: Organization) -> None:
    first, last = _fields(order.kind)
    for day, field in ((order.starts_on, first), (order.ends_on, last)):
        if day is not None and day.year not in YEARS:
            raise InvalidRequest(f"{field}: the years are {YEARS[0]} to {YEARS[-1]}.", field=field)
    if order.ends_on is not None and order.ends_on <= order.starts_on:
        raise InvalidRequest(f"{last}: it ends after it starts.", field=last)
    born = organization.created_at.astimezone(organization.zone).date()
    since = born if order.kind is AgreementKind.SUBSCRIPTION else born.replace(day=1)
    if order.starts_on < since:
        raise InvalidRequest(f"{first}: the organization is there since {born}.", field=first)


def _fields(kind: AgreementKind) -> tuple[str, str]:
    return ("starts_on", "ends_on") if kind is AgreementKind.SUBSCRIPTION else ("from_month", "to_month")


def check_apart(order: AgreementOrder, others: Sequence[Agreement]) -> None:
    """There is one commitment and one discount at a time, and one subscription of a name.

    Raises:
        Conflict: the order overlaps one of the others.
    """
    for other in others:
        if other.kind is not order.kind or other.name != order.name:
            continue
        end = date.max if order.ends_on is None else order.ends_on
        if other.days_in(Days(order.starts_on, end)):
            until = "with no end" if other.ends_on is None else f"up to {other.ends_on}"
            raise Conflict(
                f"There is a {other.kind} from {other.starts_on} {until} already: end it first.",
                field=_fields(order.kind)[0],
            )


def agreed(
    order: AgreementOrder, organization: Organization, new_id: AgreementId, *, by: KeyId | None, now: datetime
) -> Agreement:
    """The order as what is agreed from now on."""
    return Agreement(
        organization_id=organization.id,
        id=new_id,
        kind=order.kind,
        name=order.name,
        amount=order.amount,
        percent=order.percent,
        currency=organization.currency,
        starts_on=order.starts_on,
        ends_on=order.ends_on,
        created_at=now,
        created_by=by,
    )


def ended(agreement: Agreement, ends_on: date | None, *, today: date, by: KeyId | None, now: datetime) -> Agreement:
    """The agreement with an earlier end: the one that is asked for, or the earliest there can be.

    What has begun is not taken back: a subscription may end today, which is then not part of it, a commitment or
    discount with the running month. What has not begun may end before it does.

    Raises:
        Conflict: it has ended, or ends then anyway.
        InvalidRequest: it cannot end that early, or not on that day.
    """
    field = _fields(agreement.kind)[1]
    earliest = agreement.starts_on
    if agreement.starts_on <= today:
        earliest = today if agreement.kind is AgreementKind.SUBSCRIPTION else _following(today)
    wanted = earliest if ends_on is None else ends_on
    if agreement.ends_on is not None and (agreement.ends_on <= earliest or agreement.ends_on <= wanted):
        raise Conflict(f"It ends before {agreement.ends_on} anyway, and is not made longer.", field=field)
    if wanted < earliest:
        raise InvalidRequest(f"{field}: the first day that it may be over is {earliest}.", field=field)
    if wanted.year not in YEARS:
        raise InvalidRequest(f"{field}: the years are {YEARS[0]} to {YEARS[-1]}.", field=field)
    return replace(agreement, ends_on=wanted, ended_at=now, ended_by=by)


def _following(day: date) -> date:
    """The first of the month after that of the day."""
    return date(day.year + day.month // _MONTHS, day.month % _MONTHS + 1, 1)


def fee(agreement: Agreement, month: Days) -> Decimal:
    """What a subscription costs in a month, for the days of it that it covers.

    With f(k) = round(fee * k / days of the month), in minor units, the days from a to b cost f(b) - f(a): parts that
    adjoin add up to what they cost together, and to the whole fee.
    """
    days = agreement.days_in(month)
    if agreement.amount is None or not days:
        return money.ZERO
    price, whole = Fraction(agreement.amount), len(month)

    def up_to(day: date) -> int:
        return money.to_minor_units(price * (day - month.start).days / whole, agreement.currency)

    return money.from_minor_units(up_to(days.end) - up_to(days.start), agreement.currency)


def missing(agreement: Agreement, used: Decimal) -> Decimal:
    """What a month's usage lacks to the minimum that was committed to."""
    least = agreement.amount or money.ZERO
    return max(money.EXACT.subtract(least, used), money.ZERO)


def discount(agreement: Agreement, amount: Decimal) -> Decimal:
    """What a discount takes off the amount, rounded to the decimals that are kept, half away from zero."""
    percent = agreement.percent or money.ZERO
    exact = _WIDE.multiply(amount, percent).scaleb(-2, _WIDE)
    return money.to_decimals(exact, money.AMOUNT_DECIMALS)
