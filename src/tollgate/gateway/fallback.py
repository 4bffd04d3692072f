"""Fallback: what a provider's refusal means, for the next endpoint and for the caller. Pure."""

import re
from collections.abc import Mapping

from tollgate.kit.errors import InvalidRequest, ProviderFailed, RateLimited, TollgateError

OK = 200
_RATE_LIMITED = 429
_CALLERS_FAULT = frozenset({400, 413, 422})
"""Refusals that another endpoint would repeat."""
_CREDENTIAL_REFUSED = frozenset({401, 403})
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
    if status == _RATE_LIMITED:
        seconds = _retry_after(headers)
        return RateLimited(
            "The provider is limiting our rate.",
            metadata={"provider_message": message, "retry_after_seconds": seconds},
        )
    if is_our_fault(status):
        return ProviderFailed("The provider refused the gateway's credential.", metadata={"provider_status": status})
    return ProviderFailed(
        f"The provider answered {status}.", metadata={"provider_message": message, "provider_status": status}
    )


def _retry_after(headers: Mapping[str, str]) -> int:
    text = headers.get("retry-after", "")
    return min(max(int(text), 1), _RETRY_AFTER_SECONDS_MAX) if _SECONDS.fullmatch(text) else 1
