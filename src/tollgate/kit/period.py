"""Periods: half-open stretches of time, and the calendar windows of an IANA time zone.

Usage is bucketed by quarter-hours of UTC, which tile every zone's days; days, weeks and months are then cut in the
organization's own zone. Calendar arithmetic happens on local wall-clock midnights, never on fixed offsets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

QUARTER_HOUR = timedelta(minutes=15)
_YEARS = range(1970, 9000)
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The instants from `start` up to but not including `end`, both in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


class NotAMonth(ValueError):
    """The text is not a month of the form 2026-11."""


def quarter_hour(instant: datetime) -> datetime:
    """The start of the UTC quarter-hour that contains the instant."""
    return instant.replace(minute=instant.minute - instant.minute % 15, second=0, microsecond=0)


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of the local day, in UTC: later than 00:00 where a clock change skips midnight."""
    wall = datetime.combine(day, time.min)
    midnight = wall.replace(tzinfo=zone).astimezone(UTC)
    if midnight.astimezone(zone).replace(tzinfo=None) == wall:
        return midnight
    return _first_instant_of(day, zone, midnight)


def _first_instant_of(day: date, zone: ZoneInfo, guess: datetime) -> datetime:
    instant = quarter_hour(guess) - timedelta(hours=3)
    while instant.astimezone(zone).date() < day:
        instant += QUARTER_HOUR
    return instant


def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """The instant's local day; a day that has begun goes on when the clocks go back over its midnight."""
    day = instant.astimezone(zone).date()
    following = day + timedelta(days=1)
    return following if local_midnight(following, zone) <= instant else day


def day_of(instant: datetime, zone: ZoneInfo) -> Period:
    """The local calendar day that contains the instant."""
    day = local_date(instant, zone)
    return Period(local_midnight(day, zone), local_midnight(day + timedelta(days=1), zone))


def week_of(instant: datetime, zone: ZoneInfo) -> Period:
    """The local calendar week, Monday to Sunday, that contains the instant."""
    day = local_date(instant, zone)
    monday = day - timedelta(days=day.weekday())
    return Period(local_midnight(monday, zone), local_midnight(monday + timedelta(days=7), zone))


def month_of(instant: datetime, zone: ZoneInfo) -> Period:
    """The local calendar month that contains the instant."""
    day = local_date(instant, zone)
    return month(day.year, day.month, zone)


def month(year: int, number: int, zone: ZoneInfo) -> Period:
    """The local calendar month."""
    following = date(year + number // 12, number % 12 + 1, 1)
    return Period(local_midnight(date(year, number, 1), zone), local_midnight(following, zone))


def parse_month(text: str, zone: ZoneInfo) -> Period:
    """Read `2026-11` as that month of the zone.

    Raises:
        NotAMonth: the text has another form, or the year cannot be reckoned with.
    """
    match = _MONTH.fullmatch(text)
    if match is None or int(match[1]) not in _YEARS:
        raise NotAMonth(f"{text[:40]!r} is not a month of the form 2026-11")
    return month(int(match[1]), int(match[2]), zone)


def split(period: Period, granularity: str, zone: ZoneInfo) -> Iterator[Period]:
    """Cut a period into local `15m`, `hour`, `day` or `month` pieces that tile it; `total` leaves it whole."""
    start = period.start
    while start < period.end:
        end = min(_piece_end(start, granularity, zone, period.end), period.end)
        yield Period(start, end)
        start = end


def _piece_end(start: datetime, granularity: str, zone: ZoneInfo, whole: datetime) -> datetime:
    match granularity:
        case "15m":
            return quarter_hour(start) + QUARTER_HOUR
        case "hour":
            local = start.astimezone(zone)
            return quarter_hour(start) + timedelta(minutes=60 - local.minute + local.minute % 15)
        case "day":
            return day_of(start, zone).end
        case "month":
            return month_of(start, zone).end
        case _:
            return whole
