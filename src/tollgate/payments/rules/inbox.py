"""When an event of Stripe's is tried again."""

from datetime import datetime, timedelta

from tollgate.kit.backoff import doubled
from tollgate.kit.errors import InvalidRequest
from tollgate.payments.model import StripeEvent
from tollgate.payments.records import InboxEvent

_FIRST, _LONGEST = timedelta(seconds=10), timedelta(hours=6)


class OfAnotherMode(InvalidRequest):
    """The event is of Stripe's other mode: of test payments where real ones are taken, or the other way round."""


def received(event: StripeEvent, *, is_live: bool, now: datetime) -> InboxEvent:
    """The event as it is kept; due at once.

    Raises:
        OfAnotherMode: it is not of the mode that our key is of.
    """
    if event.is_live != is_live:
        raise OfAnotherMode(field="livemode")
    return InboxEvent(
        id=event.id,
        type=event.type,
        object_id=event.object_id,
        is_live=event.is_live,
        created_at=event.created_at,
        received_at=now,
        processed_at=None,
        attempts=0,
        next_at=now,
        error=None,
    )


def next_try(attempts: int, now: datetime) -> datetime:
    """When it is due again after so many attempts: whoever tries it has until then, and if it fails so has Stripe."""
    return now + doubled(_FIRST, _LONGEST, times=attempts)
