"""Errors at the edge: each family of `kit.errors` gets its HTTP status and its body here, and nowhere else.

What is not one of ours becomes a plain 500: the log learns its type and where it arose, the caller learns nothing.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from tollgate.console import pages
from tollgate.console.model import FailurePage
from tollgate.gateway.protocols import anthropic_messages
from tollgate.infra import telemetry
from tollgate.infra.database import DATABASE_AWAY
from tollgate.kit.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PayloadTooLarge,
    PaymentRequired,
    PermissionDenied,
    ProviderFailed,
    ProviderTimedOut,
    RateLimited,
    TollgateError,
    Unavailable,
)
from tollgate.reports.model import ModelMoved

ANTHROPIC_PATH = "/api/anthropic"
"""Below it everything is in Anthropic's shape."""
_INTERNAL = 500
_MOVED = 301
_STATUS: Mapping[type[TollgateError], int] = {
    InvalidRequest: 400,
    AuthenticationFailed: 401,
    PaymentRequired: 402,
    PermissionDenied: 403,
    NotFound: 404,
    Conflict: 409,
    PayloadTooLarge: 413,
    RateLimited: 429,
    ProviderFailed: 502,
    ProviderTimedOut: 504,
    Unavailable: 503,
    TollgateError: _INTERNAL,
}
_FAMILY_OF_STATUS: Mapping[int, type[TollgateError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    413: PayloadTooLarge,
    429: RateLimited,
    503: Unavailable,
}
_RETRY_DATABASE_SECONDS = 5
_RATES = {"rpm": "Requests", "tpm": "Tokens"}
"""The limits that have names in headers, which are OpenAI's: the same as on answers, see gateway.headers."""

_TITLES: Mapping[int, str] = {
    400: "This cannot be shown",
    404: "Nothing is here",
    405: "This cannot be done here",
    503: "Back in a moment",
}
_OTHER_TITLE = "Something went wrong"

_log = structlog.get_logger(__name__)


def status_of(error: TollgateError) -> int:
    """The HTTP status of an error: that of its nearest family."""
    return next(_STATUS[family] for family in type(error).__mro__ if family in _STATUS)


def status_told(error: TollgateError) -> int:
    """The HTTP status of an error that a caller is being told, which is counted; for streams that already began."""
    telemetry.ERRORS.labels(error.type).inc()
    return status_of(error)


def error_body(error: TollgateError, status: int) -> dict[str, object]:
    """The body every protocol but Anthropic's gets, in OpenAI's shape."""
    telemetry.ERRORS.labels(error.type).inc()
    return {"error": {"code": status, "type": error.type, "message": error.message, "metadata": error.metadata}}


def anthropic_error_body(error: TollgateError, status: int) -> dict[str, object]:
    """The body for callers that speak Anthropic's protocol; `request_id` names the call, if there came to be one."""
    telemetry.ERRORS.labels(error.type).inc()
    field = error.metadata.get("field")
    # This shape has no place for the field at fault but the message, which Anthropic's own begin with it.
    message = error.message if field is None or str(field) in error.message else f"{field}: {error.message}"
    return {
        "type": "error",
        "error": {"type": anthropic_messages.error_type(status), "message": message},
        "request_id": error.metadata.get("generation_id"),
    }


def error_headers(error: TollgateError) -> dict[str, str]:
    """The headers that belong to an error: how to authenticate, how long to wait and for what, which call it was."""
    headers = _rates(error) if isinstance(error, RateLimited) else {}
    if isinstance(error, AuthenticationFailed):
        headers["WWW-Authenticate"] = 'Bearer realm="tollgate"'
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(generation_id := error.metadata.get("generation_id"), str):
        headers["X-Generation-Id"] = generation_id
    return headers


def _rates(error: RateLimited) -> dict[str, str]:
    """The rate that refused a call: its limit, what is left of it, and when it begins anew."""
    rate, told = _RATES.get(str(error.metadata.get("limit"))), error.metadata
    if rate is None:
        return {}
    return {
        f"X-RateLimit-Limit-{rate}": str(told["amount"]),
        f"X-RateLimit-Remaining-{rate}": str(told["available"]),
        f"X-RateLimit-Reset-{rate}": f"{error.retry_after_seconds}s",
    }


def as_tollgate_error(error: Exception) -> TollgateError:
    """The error as one of ours. What nobody foresaw is logged, without its message, and becomes a plain 500."""
    if isinstance(error, TollgateError):
        return error
    if isinstance(error, DATABASE_AWAY):
        _log.error("database_away", **telemetry.raised(error))
        return Unavailable(
            "The database cannot be reached right now.", metadata={"retry_after_seconds": _RETRY_DATABASE_SECONDS}
        )
    _log.error("unexpected_error", **telemetry.raised(error))
    return TollgateError("Something went wrong on our side. It has been logged.")


def answer_any(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """An error of whatever kind, as it is told."""
    ours = as_tollgate_error(error)
    return _answer(request, ours, status_of(ours))


def _send_on(request: Request[Any, Any, Any], moved: ModelMoved) -> Response[bytes]:
    """To the same place under the model's own slug; that is no failure, and not counted as one."""
    place = request.url.path.replace(f"/models/{moved.alias}", f"/models/{moved.model}", 1)
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(b"", status_code=_MOVED, headers={"Location": f"{place}{query}"})


def _answer_refusal(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Litestar's own refusals: no such route, another method, a body too large, a value it could not convert."""
    if error.status_code >= _INTERNAL and error.status_code not in _FAMILY_OF_STATUS:
        return answer_any(request, error)
    return _answer(request, _refusal(request, error), error.status_code, error.headers)


def _answer(
    request: Request[Any, Any, Any], error: TollgateError, status: int, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    """The error as a page for people, or in the shape of the protocol that is spoken below this path."""
    if _reads_pages(request):
        return _page(request, error, status, headers)
    spoken = f"{request.url.path}/".startswith(f"{ANTHROPIC_PATH}/")
    body = anthropic_error_body(error, status) if spoken else error_body(error, status)
    told = {**(headers or {}), **error_headers(error)}
    if spoken and "X-Generation-Id" in told:
        told["Request-Id"] = told["X-Generation-Id"]
    return Response(body, status_code=status, headers=told)


def _reads_pages(request: Request[Any, Any, Any]) -> bool:
    """Whether a browser asked, for something outside the interface."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")


def _page(
    request: Request[Any, Any, Any], error: TollgateError, status: int, headers: Mapping[str, str] | None
) -> Response[Any]:
    telemetry.ERRORS.labels(error.type).inc()
    looked_for = request.path_params.get("name", "") if isinstance(error, ModelNotFound) else ""
    page = FailurePage(status, _TITLES.get(status, _OTHER_TITLE), error.message, looked_for)
    told = {**(headers or {}), **error_headers(error), **pages.HEADERS, "Cache-Control": "no-store"}
    return Response(pages.failure(page), status_code=status, headers=told, media_type=pages.MEDIA_TYPE)


def _refusal(request: Request[Any, Any, Any], error: HTTPException) -> TollgateError:
    if isinstance(error, ValidationException):
        return _invalid(error)
    messages = {
        404: f"There is no route {request.method} {request.url.path[:200]}.",
        405: f"{request.method} is not a method of {request.url.path[:200]}.",
        413: "The request body is too large.",
    }
    family = _FAMILY_OF_STATUS.get(error.status_code, InvalidRequest)
    return family(messages.get(error.status_code, error.detail))


def _invalid(error: ValidationException) -> InvalidRequest:
    for fault in error.extra if isinstance(error.extra, list) else ():
        field = fault.get("key")
        return InvalidRequest(f"{field}: {fault['message']}." if field else f"{fault['message']}.", field=field)
    return InvalidRequest(error.detail)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ModelMoved: _send_on,
    TollgateError: answer_any,
    HTTPException: _answer_refusal,
    Exception: answer_any,
}
"""What Litestar needs to answer every failure in our shape."""
