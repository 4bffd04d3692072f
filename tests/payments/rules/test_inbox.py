"""When an event is tried again."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.payments.rules.inbox import next_try


@given(st.integers(0, 10**6))
def test_the_next_try_is_later_and_never_far_away(attempts: int) -> None:
    assert NOON < next_try(attempts, NOON) <= next_try(attempts + 1, NOON) <= NOON + timedelta(hours=6)
