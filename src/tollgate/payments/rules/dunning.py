"""When money is tried to be taken again, and when whoever does not pay is told so, and suspended."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tollgate.payments.states import Dunning, Policy

_NOTICE_AFTER = timedelta(days=1)


def due_times(dunning: Dunning, policy: Policy) -> Sequence[datetime]:
    """When the money is tried to be taken again after the first failure, whether it has been or not."""
    if dunning.first_failed_at is None:
        return ()
    return [dunning.first_failed_at + timedelta(days=days) for days in policy.retry_days]


def next_attempt(dunning: Dunning, policy: Policy, now: datetime) -> datetime | None:
    """When the money is tried to be taken next: now if it never was, `None` if no try is left.

    One try answers for all due times up to it: a worker that was away for days does not try once for each.
    """
    if dunning.last_attempt_at is None:
        return now
    return next((due for due in due_times(dunning, policy) if due > dunning.last_attempt_at), None)


def after_failure(dunning: Dunning, now: datetime) -> Dunning:
    """What is known once the attempt under way has come to nothing."""
    return Dunning(
        attempts=dunning.attempts,
        failures=dunning.attempts,
        first_failed_at=dunning.first_failed_at or now,
        last_attempt_at=now,
        past_due_at=dunning.past_due_at,
        suspended_at=dunning.suspended_at,
    )


def notice_at(due_at: datetime | None) -> datetime | None:
    """When the customer is told that an invoice due at that time is past due; `None` if it is due at no time."""
    return None if due_at is None else due_at + _NOTICE_AFTER


def suspension_at(due_at: datetime | None, policy: Policy) -> datetime | None:
    """When an invoice due at that time suspends the organization, unless it is paid by then; `None` is never."""
    if due_at is None or policy.suspend_after_days is None:
        return None
    return due_at + timedelta(days=policy.suspend_after_days)
