"""When versions and adjustments may begin, end and be withdrawn, so that what was charged stays as it was. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.pricing.model import PriceAdjustment, PriceVersion

Lasting: TypeAlias = PriceVersion | PriceAdjustment

WITHDRAWN_BEFORE = timedelta(minutes=1)
"""How long before its beginning something can be withdrawn at the latest: that may have to wait for others."""
_NAMES: Mapping[type[Lasting], tuple[str, str]] = {
    PriceVersion: (
        "price",
        "Publish one that supersedes it instead, POST /admin/prices, or end it if it is an organization's own.",
    ),
    PriceAdjustment: ("adjustment", "End it instead: POST /admin/price-adjustments/{id}/end."),
}
"""What is said of each in a refusal, and what to do where it cannot be withdrawn."""


def can_follow(latest: Lasting, effective_from: datetime) -> bool:
    """Whether the next one may begin then: after the latest has begun, and not before its end, if that is known."""
    ends = latest.effective_to
    return latest.effective_from < effective_from and (ends is None or ends <= effective_from)


def check_withdrawal(one: Lasting, withdrawn_at: datetime | None, *, now: datetime) -> None:
    """Refuse to take back what may have charged a call, or will before the withdrawal is done.

    Raises:
        Conflict: it has begun or is about to, or was withdrawn before.
    """
    name, instead = _NAMES[type(one)]
    if withdrawn_at is not None:
        raise Conflict(f"This {name} was withdrawn already.")
    if one.effective_from <= now + WITHDRAWN_BEFORE:
        begins = one.effective_from.isoformat()
        raise Conflict(
            f"This {name} has begun or is about to, {begins}, and what was in force never changes. {instead}"
        )


def check_end(one: Lasting, withdrawn_at: datetime | None, *, at: datetime, now: datetime) -> None:
    """Refuse an end that would change what was charged, or was to be: one is given once, for now or later.

    Raises:
        Conflict: it ends already, or was withdrawn.
        InvalidRequest: that instant is past, or not after the beginning; `field` is "effective_to".
    """
    name, _ = _NAMES[type(one)]
    if withdrawn_at is not None:
        raise Conflict(f"This {name} was withdrawn already.")
    if one.effective_to is not None:
        raise Conflict(f"This {name} ends at {one.effective_to.isoformat()} already.", field="effective_to")
    if at < now:
        raise InvalidRequest(f"This {name} ends now or later.", field="effective_to")
    if at <= one.effective_from:
        begins = one.effective_from.isoformat()
        raise InvalidRequest(
            f"This {name} ends after its beginning, {begins}; before that it can be withdrawn.", field="effective_to"
        )


def next_beginning(timeline: Iterable[Lasting], one: Lasting) -> datetime | None:
    """When the first of these begins that comes after that one; `None` if none does."""
    return min((each.effective_from for each in timeline if each.effective_from > one.effective_from), default=None)
