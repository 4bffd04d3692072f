"""How Anthropic's format says that something went wrong.

Wire format: https://platform.claude.com/docs/en/api/errors
"""

from collections.abc import Mapping

import msgspec

from tollgate.gateway import wire
from tollgate.kit.errors import TollgateError

_SERVER_ERRORS = 500
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_type(status: int) -> str:
    """Anthropic's word for an error of this HTTP status."""
    return _TYPES.get(status, "invalid_request_error" if status < _SERVER_ERRORS else "api_error")


def failure(error: TollgateError, status: int, generation_id: str | None = None) -> bytes:
    """How a stream that already began says that it failed."""
    problem = {"type": error_type(status), "message": error.message}
    request_id = error.metadata.get("generation_id", generation_id)
    body = {"type": "error", "error": problem, "request_id": request_id}
    return wire.event(msgspec.json.encode(body), "error")
