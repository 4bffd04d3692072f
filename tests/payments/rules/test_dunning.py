"""When money is tried to be taken again: on rising days, once for each, and not for ever."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.payments.rules import dunning
from tollgate.payments.states import Dunning, Policy

DAYS = st.lists(st.integers(1, 60), unique=True, max_size=6).map(sorted).map(tuple)
HOURS = st.lists(st.integers(1, 500), min_size=1, max_size=30)


@given(DAYS, HOURS)
def test_tries_rise_end_and_never_answer_for_one_due_time_twice(days: tuple[int, ...], pauses: list[int]) -> None:
    policy, tried, now = Policy(retry_days=days), Dunning(), NOON
    answered: list[timedelta] = []
    for pause in pauses:
        due = dunning.next_attempt(tried, policy, now)
        if due is not None and due <= now:
            answered.append(due - NOON)
            tried = dunning.after_failure(
                Dunning(
                    attempts=tried.attempts + 1,
                    failures=tried.failures,
                    first_failed_at=tried.first_failed_at,
                    last_attempt_at=now,
                ),
                now,
            )
        now += timedelta(hours=pause)

    assert answered == sorted(set(answered))
    assert len(answered) <= 1 + len(days)
    assert set(answered[1:]) <= {timedelta(days=day) for day in days}
    assert tried.attempts == tried.failures == len(answered)


@given(DAYS, st.integers(0, 2000))
def test_what_comes_next_is_after_what_was_tried(days: tuple[int, ...], hours: int) -> None:
    at = NOON + timedelta(hours=hours)
    tried = Dunning(attempts=2, failures=2, first_failed_at=NOON, last_attempt_at=at)

    due = dunning.next_attempt(tried, Policy(retry_days=days), at)

    left = [day for day in days if timedelta(days=day) > timedelta(hours=hours)]
    assert due == (NOON + timedelta(days=left[0]) if left else None)


def test_without_a_due_date_nobody_is_past_due() -> None:
    policy = Policy(suspend_after_days=5)

    assert dunning.notice_at(None) is None
    assert dunning.suspension_at(None, policy) is None
    assert dunning.suspension_at(NOON, Policy()) is None
    assert dunning.suspension_at(NOON, policy) == NOON + timedelta(days=5)
