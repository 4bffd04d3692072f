"""Fallback: what a provider's refusal means, for the next endpoint and for the caller. Pure."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from tollgate.health.model import Fault
from tollgate.kit.errors import (
    InvalidRequest,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnreachable,
    RateLimited,
    TollgateError,
)

OK = 200
_RATE_LIMITED = 429
_CALLERS_FAULT = frozenset({400, 413, 422})
"""Refusals that another endpoint would repeat."""
_CREDENTIAL_REFUSED = frozenset({401, 403})
_FAULTS = {401: Fault.DENIED, 403: Fault.DENIED, 404: Fault.GONE, 429: Fault.LIMITED}
_RETRY_AFTER_SECONDS_MAX = 3600
_SECONDS = re.compile(r"[0-9]{1,9}")
_MESSAGE_CHARACTERS_MAX = 1000
_CONTEXT_WORDS = ("context length", "context_length", "maximum context", "context window", "too long")


def may_try_next(status: int | None, message: str) -> bool:
    """Whether another endpoint may succeed where this one refused (billing-rules §5).

    A prompt that is too long for one endpoint may fit another; everything else that is the caller's fault would not.
    """
    return status not in _CALLERS_FAULT or _is_too_long(message)


def _is_too_long(message: str) -> bool:
    words = message.lower()
    return any(phrase in words for phrase in _CONTEXT_WORDS)


def fault_of(error: TollgateError, status: int | None) -> Fault | None:
    """What a failed attempt says of its endpoint, by its error and the status it answered with; `None`: it is alive."""
    if isinstance(error, ProviderUnreachable):
        return Fault.UNREACHABLE
    if isinstance(error, ProviderTimedOut):
        return Fault.SILENT
    if isinstance(error, InvalidRequest):
        return None
    return _FAULTS.get(status or 0, Fault.FAILING)


def is_our_fault(status: int) -> bool:
    """Whether the provider refused our credential, which nobody but the operator can mend."""
    return status in _CREDENTIAL_REFUSED


def refusal(status: int, headers: Mapping[str, str], words: str | None) -> TollgateError:
    """What the caller is told when no other endpoint helps: the provider's own words, in our terms.

    What a provider says to a refused credential concerns the operator and is not passed on.
    """
    message = (words or f"The provider answered {status}.")[:_MESSAGE_CHARACTERS_MAX]
    if status in _CALLERS_FAULT:
        return InvalidRequest(message, metadata={"provider_message": message, "provider_status": status})
    seconds = retry_after(headers)
    if status == _RATE_LIMITED:
        return RateLimited(
            "The provider is limiting our rate.",
            metadata={"provider_message": message, "retry_after_seconds": seconds or 1},
        )
    if is_our_fault(status):
        return ProviderFailed("The provider refused the gateway's credential.", metadata={"provider_status": status})
    waiting = {} if seconds is None else {"retry_after_seconds": seconds}
    return ProviderFailed(
        f"The provider answered {status}.",
        metadata={"provider_message": message, "provider_status": status, **waiting},
    )


def wait_seconds(status: int, headers: Mapping[str, str]) -> int | None:
    """How long the provider asks to be left alone, if what it refused is not the request itself."""
    return None if status == OK or status in _CALLERS_FAULT else retry_after(headers)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """How many seconds the provider asks to be spared, at least 1; `None` if it does not ask.

    RFC 9110 §10.2.3: a number of seconds, or a date, which is taken against the provider's own clock.
    """
    text = headers.get("retry-after", "")
    if _SECONDS.fullmatch(text):
        return _bounded(int(text))
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return _bounded(math.ceil(wait.total_seconds()))


def _bounded(seconds: int) -> int:
    return min(max(seconds, 1), _RETRY_AFTER_SECONDS_MAX)
