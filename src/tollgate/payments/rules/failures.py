"""What an error of Stripe means for whoever asked.

https://docs.stripe.com/error-low-level
"""

from collections.abc import Mapping
from typing import Any

from tollgate.payments.model import (
    StripeBusy,
    StripeDeclined,
    StripeError,
    StripeKeySpent,
    StripeMissing,
    StripeRefused,
    StripeUnauthorised,
    StripeUnsure,
)
from tollgate.payments.rules.readings import identifier

_FIRST_ERROR = 400
_UNAUTHORISED = frozenset({401, 403})
_DECLINED = 402
_MISSING = 404
_CONFLICT = 409
_TOO_MANY = 429
_FIRST_OF_TROUBLE = 500
_BUSY_CODES = frozenset({"lock_timeout", "rate_limit", "idempotency_key_in_use"})


def of(status: int | None, said: Mapping[str, Any], message: str, *, is_replay: bool = False) -> StripeError:
    """Our error for an answer of this HTTP status, whose `error` object says this; no status is no answer."""
    code = said.get("code")
    if status is None:
        return StripeUnsure("No answer came from Stripe.")
    if status < _FIRST_ERROR:
        return StripeUnsure(f"Stripe's answer (status {status}) cannot be read.")
    if status in _UNAUTHORISED:
        return StripeUnauthorised("Stripe does not accept the secret key for this.")
    if status in {_CONFLICT, _TOO_MANY} or status >= _FIRST_OF_TROUBLE or code in _BUSY_CODES:
        return StripeBusy(f"Stripe could not do it now (status {status}).", is_replay=is_replay)
    if status == _DECLINED:
        return _declined(said, message)
    return _refused(status, said, message)


def _refused(status: int, said: Mapping[str, Any], message: str) -> StripeError:
    code, param = said.get("code"), said.get("param")
    if said.get("type") == "idempotency_error":
        return StripeKeySpent(message, code=code)
    if status == _MISSING or code == "resource_missing":
        return StripeMissing(message, code=code, param=param)
    return StripeRefused(message, code=code, param=param)


def _declined(said: Mapping[str, Any], message: str) -> StripeDeclined:
    return StripeDeclined(
        message,
        code=said.get("code"),
        decline_code=said.get("decline_code"),
        payment_intent_id=identifier(said.get("payment_intent")),
        charge_id=identifier(said.get("charge")),
    )
