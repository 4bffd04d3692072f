"""What reports cover and derive, without a database."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit.errors import InvalidRequest
from tollgate.kit.period import QUARTER_HOUR, Period
from tollgate.reports import rules
from tollgate.reports.model import Asked, DayOfTokens, Granularity

UTC_ZONE = ZoneInfo("UTC")
NEW_YORK = ZoneInfo("America/New_York")
ZONES = ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Pacific/Chatham"]


class TestWindow:
    def test_of_a_month_begins_and_ends_at_the_zones_midnights(self) -> None:
        found = rules.window(Asked(month="2026-11"), zone=NEW_YORK)

        assert found == Period(datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 12, 1, 5, tzinfo=UTC))

    def test_is_converted_to_utc(self) -> None:
        local = datetime(2026, 11, 1, tzinfo=NEW_YORK)

        found = rules.window(Asked(start=local, end=local + timedelta(days=1)), zone=UTC_ZONE)

        assert found is not None
        assert found.start == datetime(2026, 11, 1, 4, tzinfo=UTC)
        assert found.start.tzinfo is UTC

    def test_is_none_if_none_is_asked_for(self) -> None:
        assert rules.window(Asked(), zone=UTC_ZONE) is None

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            (Asked(month="2026-13"), "month"),
            (Asked(month="1999-12"), "month"),
            (Asked(month="2026-11", start=datetime(2026, 11, 1, tzinfo=UTC)), "month"),
            (Asked(start=datetime(2026, 11, 1, tzinfo=UTC)), "end"),
            (Asked(end=datetime(2026, 11, 1, tzinfo=UTC)), "start"),
            (Asked(start=datetime(2026, 11, 2, tzinfo=UTC), end=datetime(2026, 11, 2, tzinfo=UTC)), "end"),
            (Asked(start=datetime(1, 1, 1, tzinfo=NEW_YORK), end=datetime(2026, 1, 1, tzinfo=UTC)), "start"),
            (Asked(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(9999, 12, 31, tzinfo=NEW_YORK)), "end"),
        ],
    )
    def test_that_cannot_be_is_refused_by_name(self, asked: Asked, field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            rules.window(asked, zone=UTC_ZONE)
        assert refused.value.field == field


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "America", "", "a\x00b"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an IANA time zone"):
        rules.named_zone(name, default=UTC_ZONE)


quarter_hours = st.integers(0, 4 * 24 * 365 * 20).map(
    lambda number: datetime(2015, 1, 1, tzinfo=UTC) + number * QUARTER_HOUR
)


class TestPieces:
    @given(
        start=quarter_hours,
        length=st.integers(1, 4 * 24 * 40),
        granularity=st.sampled_from(Granularity),
        zone=st.sampled_from(ZONES).map(ZoneInfo),
    )
    def test_tile_the_window_in_every_zone(
        self, start: datetime, length: int, granularity: Granularity, zone: ZoneInfo
    ) -> None:
        window = Period(start, start + length * QUARTER_HOUR)

        pieces = rules.pieces(window, granularity, zone)

        assert pieces[0].start == window.start
        assert pieces[-1].end == window.end
        assert all(before.end == after.start for before, after in pairwise(pieces))
        assert all(piece.start < piece.end for piece in pieces)

    def test_too_many_are_refused_before_they_are_made(self) -> None:
        forever = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(8999, 1, 1, tzinfo=UTC))

        with pytest.raises(InvalidRequest, match="coarser"):
            rules.pieces(forever, Granularity.QUARTER_HOUR, UTC_ZONE)
        assert len(rules.pieces(forever, Granularity.MONTH, UTC_ZONE)) == 12 * 6999


@pytest.mark.parametrize(
    ("tokens", "milliseconds", "expected"),
    [
        (300, 2000, 150.0),
        (1, 3000, 0.33),
        (2, 3000, 0.67),
        (1, 8000, 0.13),
        (0, 2000, None),
        (5, 0, None),
        (5, None, None),
    ],
)
def test_throughput_is_output_over_the_whole_time(
    tokens: int, milliseconds: int | None, expected: float | None
) -> None:
    assert rules.throughput(tokens, milliseconds) == expected


@pytest.mark.parametrize(
    ("limit", "used", "held", "expected"),
    [("10", "3", "2", "5"), ("10", "9", "2", "0"), ("0", "0", "0", "0"), (None, "3", "2", None)],
)
def test_what_remains_is_never_below_zero(limit: str | None, used: str, held: str, expected: str | None) -> None:
    bound = None if limit is None else Decimal(limit)
    left = rules.remaining(bound, used=Decimal(used), held=Decimal(held))
    assert left == (None if expected is None else Decimal(expected))


def test_days_without_usage_are_there_with_nothing() -> None:
    used = [DayOfTokens(date(2026, 11, 21), 5, 7)]

    days = rules.every_day(used, since=date(2026, 11, 20), days=3)

    assert days == [DayOfTokens(date(2026, 11, 20), 0, 0), used[0], DayOfTokens(date(2026, 11, 22), 0, 0)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_cell_is_never_a_formula(text: str) -> None:
    assert rules.safe_cell(text) == f"'{text}"
    assert rules.safe_cell("ann") == "ann"
