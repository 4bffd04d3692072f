"""Errors: the families every slice raises. The edge alone gives them an HTTP status and a body.

TollgateError
├── InvalidRequest              the request itself is wrong; `field` names the part at fault
├── AuthenticationFailed        no key, or a key that is not valid
├── PermissionDenied            the key is valid but may not do this
│   └── ModelNotAllowed         the key's allowlist or its organization's leaves the model out
├── PaymentRequired
│   ├── InsufficientCredit      the organization's balance cannot carry the call
│   └── LimitExceeded           a spending limit is used up
├── NotFound
│   ├── ModelNotFound           no such model
│   ├── ModelNotPriced          no price in force for the model
│   └── NoEndpoint              no endpoint of the model can serve this request
├── Conflict                    the request contradicts what is there
│   └── IdempotencyConflict     the idempotency key was used for something else
├── PayloadTooLarge             the body exceeds the limit
├── RateLimited                 too many requests, tokens or concurrent calls
├── ProviderFailed              the provider answered with an error
│   ├── ProviderUnavailable     the provider is not there, or broke off before it answered
│   │   └── ProviderUnreachable no connection to it comes about
│   └── ProviderTimedOut        the provider did not answer in time
└── Unavailable                 we cannot take the call right now
    └── LedgerUnavailable       the ledger cannot record it
"""

from collections.abc import Mapping
from typing import ClassVar


class TollgateError(Exception):
    """Something went wrong."""

    type: ClassVar[str] = "internal"

    def __init__(
        self, message: str | None = None, *, field: str | None = None, metadata: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.message = str(self)
        self.field = field
        self.metadata: dict[str, object] = dict(metadata or {})
        if field is not None:
            self.metadata["field"] = field

    @property
    def retry_after_seconds(self) -> int | None:
        """How long a caller should wait before the same request can succeed; `None` if waiting does not help."""
        seconds = self.metadata.get("retry_after_seconds")
        return seconds if isinstance(seconds, int) else None


class InvalidRequest(TollgateError):
    """The request is not valid."""

    type = "invalid_request"


class AuthenticationFailed(TollgateError):
    """A valid API key is needed."""

    type = "authentication"


class PermissionDenied(TollgateError):
    """This key may not do that."""

    type = "permission"


class ModelNotAllowed(PermissionDenied):
    """This key may not call the model."""

    type = "model_not_allowed"


class PaymentRequired(TollgateError):
    """The call cannot be paid for."""

    type = "insufficient_credit"


class InsufficientCredit(PaymentRequired):
    """The organization's balance cannot carry this call."""


class LimitExceeded(PaymentRequired):
    """A spending limit is used up."""

    type = "limit_exceeded"


class NotFound(TollgateError):
    """There is no such thing."""

    type = "not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    type = "model_not_found"


class ModelNotPriced(NotFound):
    """The model has no price in force."""

    type = "model_not_priced"


class NoEndpoint(NotFound):
    """No endpoint of the model can serve this request."""

    type = "no_endpoint"


class Conflict(TollgateError):
    """The request contradicts what is there."""

    type = "conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was used for another request."""

    type = "idempotency_conflict"


class PayloadTooLarge(TollgateError):
    """The request body is too large."""

    type = "payload_too_large"


class RateLimited(TollgateError):
    """Too many requests."""

    type = "rate_limit"


class ProviderFailed(TollgateError):
    """The provider answered with an error."""

    type = "provider_error"


class ProviderUnavailable(ProviderFailed):
    """The provider could not be reached."""

    type = "provider_unavailable"


class ProviderUnreachable(ProviderUnavailable):
    """No connection to the provider comes about."""


class ProviderTimedOut(ProviderFailed):
    """The provider did not answer in time."""

    type = "provider_timeout"


class Unavailable(TollgateError):
    """The call cannot be taken right now."""

    type = "overloaded"


class LedgerUnavailable(Unavailable):
    """The ledger cannot record the call right now."""

    type = "ledger_unavailable"
