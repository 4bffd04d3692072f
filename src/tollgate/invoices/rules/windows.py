"""Which month an invoice is for, and which records it covers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from tollgate.accounts.model import Organization
from tollgate.agreements.model import Days, Dues
from tollgate.invoices.model import Heading, InvoiceKind, Month, PricedUsage, Window
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import InvoiceId, OrganizationId, derived_id, timestamp_bits
from tollgate.kit.period import NotAMonth, Period
from tollgate.ledger.model import InvoiceScope
from tollgate.metering.model import OpenTime, RecordScope

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS = 80
_HIGHEST = (1 << 128) - 1


def parse_month(text: str) -> Month:
    """Read a month such as 2026-11.

    Raises:
        InvalidRequest: it is none; `field` is "month".
    """
    try:
        return Month.named(text)
    except NotAMonth as error:
        raise InvalidRequest(f"month: {error}.", field="month") from error


def invoice_id(organization_id: OrganizationId, currency: str, month: Month, revision: int = 0) -> InvoiceId:
    """The id of the month's invoice, the same from the first look at its draft on.

    The revision is how many invoices of the month were voided. The id keeps the timestamp of the organization's id, by
    which the organization can be found.
    """
    again = f":{revision}" if revision else ""
    return InvoiceId(derived_id(organization_id, f"invoice:{InvoiceKind.USAGE}:{currency}:{month.name}{again}"))


def may_be_of(organization_id: OrganizationId, invoice_id: InvoiceId) -> bool:
    """Whether the invoice can be the organization's: their ids carry the same millisecond."""
    return timestamp_bits(organization_id) == timestamp_bits(invoice_id)


def above_organization_of(invoice_id: InvoiceId) -> UUID:
    """The lowest id above that of the organization whose invoice this is: a millisecond later than both."""
    return UUID(int=min(timestamp_bits(invoice_id) + 1 << _RANDOM_BITS, _HIGHEST))


def open_months(organization: Organization, last: Heading | None, now: datetime) -> list[Month]:
    """The months that may still be closed, oldest first: from after the last invoice, up to the one that collects now.

    That is the running month, or the one after the last invoice's if the running month is closed already.
    """
    running = Month.at(now, organization.zone)
    first = first_open(organization, last)
    return _months(min(first, running), running) if last is None else _months(first, max(first, running))


def first_open(organization: Organization, last: Heading | None) -> Month:
    """The first month that can still be closed: the one after the last invoice's, or that of the first day."""
    return Month.at(organization.created_at, organization.zone) if last is None else last.month.following


def due_months(organization: Organization, last: Heading | None, *, now: datetime, grace: timedelta) -> list[Month]:
    """The open months that are over, grace included; oldest first."""
    running = Month.at(now - grace, organization.zone)
    return [month for month in open_months(organization, last, now) if month < running]


def _months(first: Month, newest: Month) -> list[Month]:
    months = [first]
    while months[-1] < newest:
        months.append(months[-1].following)
    return months


def window(organization: Organization, month: Month, last: Heading | None, cut: int) -> Window:
    """Which records the month's invoice covers when they are cut here, after the last invoice.

    Where the month follows on the last invoice, it begins where that one ended, so that periods tile even when the
    organization's time zone was changed in between.
    """
    instants = month.instants(organization.zone)
    if last is None:
        return Window(instants, cut, previous_end=None, previous_cut=None)
    if last.month == month.preceding:
        instants = Period(last.window.period.end, instants.end)
    return Window(instants, cut, previous_end=last.window.period.end, previous_cut=last.window.cut)


def records(window: Window, stretch: Period) -> RecordScope:
    """The records of the window that were accepted in the stretch; those accepted before it are told apart as late."""
    previous = None
    if window.previous_end is not None and window.previous_cut is not None:
        previous = (window.previous_end, window.previous_cut)
    return RecordScope(stretch.start, stretch.end, window.cut, previous)


def charges(window: Window) -> InvoiceScope:
    """The charges that the window covers."""
    scope = records(window, window.period)
    return InvoiceScope(scope.end, scope.cut, scope.previous)


def open_charges(times: Sequence[OpenTime]) -> list[tuple[OrganizationId, InvoiceScope]]:
    """The charges that would be invoiced if these open times were closed now."""
    return [(time.organization_id, InvoiceScope(time.end, None, time.previous)) for time in times]


def open_time(organization: Organization, month: Month, last: Heading | None) -> OpenTime:
    """What an invoice of the month would cover if it were closed now, and every month before it that is open."""
    previous = None if last is None else (last.window.period.end, last.window.cut)
    return OpenTime(organization.id, month.instants(organization.zone).end, previous)


def dues(organization: Organization, months: Sequence[Month], last: Heading | None) -> Dues:
    """The days of these months, for which something may be due that was agreed and not used."""
    days = Days(months[0].days.start, months[-1].days.end)
    return Dues(organization.id, days, since=None if last is None else last.issued_at)


def months_skipped(window: Window) -> Period | None:
    """The time between the last invoice and this period, which must hold no usage; `None` if they meet."""
    start = window.previous_end or _BEGINNING
    return Period(start, window.period.start) if start < window.period.start else None


def after_the_skipped(window: Window) -> Window:
    """The window of a draft while an earlier month is still open: that one will take everything before."""
    return replace(window, previous_end=window.period.start, previous_cut=window.cut)


def origin_instants(window: Window, month: Month, origin: Month, zone: ZoneInfo) -> Period:
    """The instants of the month that late usage is from; the month just before ends where this period begins."""
    instants = origin.instants(zone)
    return Period(instants.start, window.period.start) if origin == month.preceding else instants


def records_behind(heading: Heading, usage: PricedUsage) -> RecordScope:
    """The records of the invoice among which those of one line are."""
    if usage.origin is None:
        return records(heading.window, heading.window.period)
    zone = ZoneInfo(heading.timezone)
    return records(heading.window, origin_instants(heading.window, heading.month, usage.origin, zone))
