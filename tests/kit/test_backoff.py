"""Waits double, and end at the most."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit.backoff import doubled

FIRST, MOST = timedelta(seconds=10), timedelta(hours=6)


@pytest.mark.parametrize(("times", "seconds"), [(-1, 10), (0, 10), (1, 20), (11, 20480), (12, 21600), (10**9, 21600)])
def test_a_wait_is_the_first_doubled_so_many_times_and_the_most_at_the_most(times: int, seconds: int) -> None:
    assert doubled(FIRST, MOST, times=times) == timedelta(seconds=seconds)


@given(st.integers(0, 1000))
def test_no_wait_is_shorter_than_the_one_before(times: int) -> None:
    assert doubled(FIRST, MOST, times=times) <= doubled(FIRST, MOST, times=times + 1)
