"""Whether a webhook is Stripe's and of now, and which event it tells of.

https://docs.stripe.com/webhooks#verify-manually
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tollgate.kit.errors import InvalidRequest
from tollgate.payments.model import StripeEvent
from tollgate.payments.rules import readings

TOLERANCE = timedelta(seconds=300)
"""How far the moment of signing may lie from now, either way."""
HEADER = "Stripe-Signature"
_SIGNED_AT = re.compile(r"t=([0-9]{1,12})")
_ID = re.compile(r"[A-Za-z0-9_]{1,255}")
_OBJECT_ID = re.compile(r"[A-Za-z0-9_]{0,255}")
_TYPE = re.compile(r"[a-z0-9_.]{1,255}")


class NotFromStripe(InvalidRequest):
    """This is not signed by Stripe, or not in the last minutes, or tells of no event."""


def event(payload: bytes, signature: str | None, *, verify: Callable[[bytes, str], bool], now: datetime) -> StripeEvent:
    """The event that the payload tells of, once the signature is verified.

    Raises:
        NotFromStripe: the signature is missing, forged, or of another time, or there is no event in the payload.
    """
    if signature is None or not verify(payload, signature):
        raise NotFromStripe(f"{HEADER} is not the signature of this body.", field=HEADER)
    if abs(now - _signed_at(signature)) > TOLERANCE:
        raise NotFromStripe(f"{HEADER} was made at another time: more than {TOLERANCE.seconds} s away.", field=HEADER)
    return _read(payload)


def _signed_at(signature: str) -> datetime:
    """The one moment that the header names: named twice, it could be verified by one and judged by the other."""
    named = [part for part in signature.split(",") if part.partition("=")[0].strip() == "t"]
    found = _SIGNED_AT.fullmatch(named[0]) if len(named) == 1 else None
    seconds = 0 if found is None else int(found[1])
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _read(payload: bytes) -> StripeEvent:
    try:
        raw = json.loads(payload)
        if raw["object"] != "event":
            raise NotFromStripe("The body is not an event.")
        found = readings.event(raw)
        is_plain = _ID.fullmatch(found.id) and _TYPE.fullmatch(found.type) and _OBJECT_ID.fullmatch(found.object_id)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise NotFromStripe("The body is not an event.") from error
    if not is_plain:
        raise NotFromStripe("The body is not an event.")
    return found
