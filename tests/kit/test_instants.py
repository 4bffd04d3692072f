"""An instant that is not refused can be reckoned with everywhere."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit import instants
from tollgate.kit.errors import InvalidRequest

offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=offsets))
def test_an_instant_is_refused_or_has_a_time_in_every_zone(instant: datetime) -> None:
    if instant.year not in instants.YEARS:
        with pytest.raises(InvalidRequest) as refused:
            instants.check(instant, "start")
        assert refused.value.field == "start"
        return
    instants.check(instant, "start")
    day = timedelta(days=1)
    assert instant.astimezone(UTC) - day < instant < instant.astimezone(UTC) + day


@pytest.mark.parametrize("year", [2000, 2026, 9000])
def test_the_first_and_the_last_year_are_in_range(year: int) -> None:
    instants.check(datetime(year, 12, 31, 23, 59, 59, 999_999, UTC), "start")
