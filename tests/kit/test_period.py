"""Days, weeks and months of every time zone tile time, whatever its clocks do."""

import itertools
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import seeded

from tollgate.kit import period
from tollgate.kit.period import Period

ZONES = sorted(zoneinfo.available_timezones() - {"localtime"})
YEARS = range(2020, 2036)
INSTANT = timedelta(microseconds=1)

zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of the strategy


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("initial", sorted({name[0] for name in ZONES}))
def test_months_tile_in_every_zone(initial: str) -> None:
    for zone in (ZoneInfo(name) for name in ZONES if name[0] == initial):
        months = [period.month(year, number, zone) for year in YEARS for number in range(1, 13)]
        assert all(month.start < month.end for month in months), zone
        assert all(month.end == following.start for month, following in pairwise(months)), zone
        for month in months:
            first, last = month.start.astimezone(zone), (month.end - INSTANT).astimezone(zone)
            assert (first.year, first.month) == (last.year, last.month), zone
            assert first.day == 1, zone


@settings(deadline=None, max_examples=500)
@given(instants, zones)
def test_an_instant_lies_in_its_day_week_and_month(instant: datetime, zone: ZoneInfo) -> None:
    day, week, month = (cut(instant, zone) for cut in (period.day_of, period.week_of, period.month_of))
    assert all(instant in found for found in (day, week, month))
    assert week.start <= day.start < day.end <= week.end
    assert month.start <= day.start < day.end <= month.end
    assert week.start.astimezone(zone).weekday() == 0


def test_every_instant_of_a_day_knows_the_same_day_where_clocks_change() -> None:
    for zone, change in clock_changes():
        for minutes in range(-26 * 60, 26 * 60, 37):
            instant = change + timedelta(minutes=minutes)
            day = period.day_of(instant, zone)
            assert instant in day, (zone, instant)
            assert period.day_of(day.start, zone) == day, (zone, instant)
            assert period.day_of(day.end - INSTANT, zone) == day, (zone, instant)
            assert period.day_of(day.end, zone).start == day.end, (zone, instant)


def clock_changes() -> list[tuple[ZoneInfo, datetime]]:
    """Of a few zones that behave oddly: the hours around which their offsets change."""
    odd = [
        "America/Sao_Paulo",
        "Asia/Beirut",
        "America/Havana",
        "Atlantic/Azores",
        "Australia/Lord_Howe",
        "Africa/Cairo",
    ]
    odd += ["America/Nuuk", "Asia/Gaza", "Pacific/Chatham", "Africa/Casablanca", "Asia/Amman", "America/Asuncion"]
    found = []
    for zone in map(ZoneInfo, odd):
        hours = [datetime(2017, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 365 * 3)]
        offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
        found += [(zone, hour) for hour, (one, other) in zip(hours[1:], pairwise(offsets), strict=True) if one != other]
    return found


@pytest.mark.parametrize(
    ("zone", "day", "starts", "hours"),
    [
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00", 23),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00", 23),
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00", 25),
        ("Atlantic/Azores", date(2026, 10, 25), "2026-10-25T00:00", 25),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00", 23),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00", 25),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15", 24),
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30", 23.5),
    ],
)
def test_a_day_begins_with_its_first_instant_even_where_midnight_is_skipped_or_comes_twice(
    zone: str, day: date, starts: str, hours: float
) -> None:
    start = period.local_midnight(day, ZoneInfo(zone))
    following = period.local_midnight(day + timedelta(days=1), ZoneInfo(zone))
    assert start == utc(starts)
    assert (start - INSTANT).astimezone(ZoneInfo(zone)).date() < day
    assert following - start == timedelta(hours=hours)


def test_a_day_that_a_zone_left_out_has_no_instants() -> None:
    apia = ZoneInfo("Pacific/Apia")
    left_out, following = (period.local_midnight(date(2011, 12, day), apia) for day in (30, 31))
    assert left_out == following == utc("2011-12-30T10:00")


@settings(deadline=None, max_examples=300)
@given(instants, st.integers(min_value=1, max_value=60 * 24 * 40), st.sampled_from(["total", "month", "day"]), zones)
def test_pieces_tile_their_period(start: datetime, minutes: int, granularity: str, zone: ZoneInfo) -> None:
    whole = Period(start, start + timedelta(minutes=minutes))
    assert_tiled(whole, list(period.split(whole, granularity, zone)))


@settings(deadline=None, max_examples=200)
@given(instants, st.integers(min_value=1, max_value=60 * 30), st.sampled_from(["hour", "15m"]), zones)
def test_short_pieces_tile_their_period(start: datetime, minutes: int, granularity: str, zone: ZoneInfo) -> None:
    whole = Period(start, start + timedelta(minutes=minutes))
    assert_tiled(whole, list(period.split(whole, granularity, zone)))


def test_pieces_tile_across_every_clock_change() -> None:
    for zone, change in clock_changes():
        whole = Period(change - timedelta(hours=30, minutes=7), change + timedelta(hours=30))
        for granularity in ("15m", "hour", "day", "month", "total"):
            assert_tiled(whole, list(period.split(whole, granularity, zone)))


def test_pieces_tile_even_where_a_day_came_back() -> None:
    newfoundland = ZoneInfo("America/St_Johns")
    for minutes in range(0, 180, 5):
        start = utc("2010-11-07T01:30") + timedelta(minutes=minutes)
        whole = Period(start, start + timedelta(days=2))
        assert_tiled(whole, list(period.split(whole, "day", newfoundland)))


def assert_tiled(whole: Period, pieces: list[Period]) -> None:
    assert pieces[0].start == whole.start
    assert pieces[-1].end == whole.end
    assert all(piece.start < piece.end for piece in pieces)
    assert all(piece.end == following.start for piece, following in pairwise(pieces))


def test_an_hour_begins_when_the_local_clock_says_so() -> None:
    kathmandu = ZoneInfo("Asia/Kathmandu")
    whole = Period(utc("2026-01-01T00:00"), utc("2026-01-01T03:00"))
    starts = [piece.start for piece in period.split(whole, "hour", kathmandu)]
    assert starts == [utc(f"2026-01-01T{time}") for time in ("00:00", "00:15", "01:15", "02:15")]


def test_quarter_hours_tile_every_hour() -> None:
    chance = seeded(7)
    for _ in range(200):
        instant = utc("2026-01-01T00:00") + timedelta(microseconds=chance.randrange(10**13))
        start = period.quarter_hour(instant)
        assert start <= instant < start + period.QUARTER_HOUR
        assert start.minute in {0, 15, 30, 45}


def test_a_period_holds_its_start_and_not_its_end() -> None:
    november = period.month(2026, 11, ZoneInfo("UTC"))
    assert november.start in november
    assert november.end not in november
    assert november.end - INSTANT in november


def test_a_month_is_read_from_its_text() -> None:
    for year, number in itertools.product((1970, 2026, 8999), range(1, 13)):
        assert period.parse_month(f"{year}-{number:02}", ZoneInfo("UTC")) == period.month(year, number, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-13", "2026-00", "2026-1", "26-01", "2026-01-01", "1969-12", "9000-01", " 2026-01", "2026-01\n"],
)
def test_what_is_not_a_month_is_refused(text: str) -> None:
    with pytest.raises(period.NotAMonth):
        period.parse_month(text, ZoneInfo("UTC"))


def test_digits_of_another_script_are_no_month() -> None:
    with pytest.raises(period.NotAMonth):
        period.parse_month("\N{ARABIC-INDIC DIGIT TWO}026-01", ZoneInfo("UTC"))
