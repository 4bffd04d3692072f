"""Headers: what an answer says of itself before its first byte. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from tollgate.catalog.model import Model
from tollgate.gateway.endings import Call
from tollgate.gateway.model import Wire
from tollgate.metering.model import Admission


def of_answer(call: Call, *, overhead: str, now: datetime) -> Mapping[str, str]:
    """The headers of the answer to a call."""
    generation_id = call.generation_id
    headers = {
        "content-type": "text/event-stream; charset=utf-8" if call.request.stream else "application/json",
        "x-generation-id": generation_id,
        "x-tollgate-provider": call.attempts[-1].candidate.provider.slug,
        "x-tollgate-overhead-ms": overhead,
    }
    headers |= rates(call.admission, now=now)
    headers |= endings(call.plan.asked_for.get(call.attempts[-1].candidate.endpoint.model))
    if call.request.wire is Wire.MESSAGES:
        headers["request-id"] = generation_id
    if call.request.stream:
        headers["cache-control"] = "no-cache"
    if call.output_cap is not None:
        headers["x-tollgate-max-tokens"] = str(call.output_cap)
    return headers


def endings(model: Model | None) -> Mapping[str, str]:
    """When the model that was asked for is deprecated, and when it retires, as far as either is known.

    `Deprecation` is an RFC 9651 date (RFC 9745), `Sunset` an HTTP date (RFC 8594); each may lie ahead.
    """
    told = {}
    if model is not None and model.deprecated_at is not None:
        told["deprecation"] = f"@{math.floor(model.deprecated_at.timestamp())}"
    if model is not None and model.retires_at is not None:
        told["sunset"] = format_datetime(model.retires_at.astimezone(UTC), usegmt=True)
    return told


def rates(admission: Admission | None, *, now: datetime) -> Mapping[str, str]:
    """What was left of the rates that limit the caller when its call was admitted, by the names OpenAI gives them.

    Where organization, project and key each have a limit, it is the one of which least was left. OpenAI's names:
    "Rate limits", headers, in its API documentation.
    """
    if admission is None or admission.minute_end is None:
        return {}
    reset = f"{max(0, math.ceil((admission.minute_end - now).total_seconds()))}s"
    told = {}
    for what, limit, left in (
        ("requests", admission.requests_limit, admission.requests_left),
        ("tokens", admission.tokens_limit, admission.tokens_left),
    ):
        if limit is not None and left is not None:
            told[f"x-ratelimit-limit-{what}"] = str(limit)
            told[f"x-ratelimit-remaining-{what}"] = str(left)
            told[f"x-ratelimit-reset-{what}"] = reset
    return told
