"""The response object: what surrounds the output, as clients expect it of every response.

Wire format: https://platform.openai.com/docs/api-reference/responses/object
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.neutral import Stop
from tollgate.gateway.protocols import envelope
from tollgate.kit.errors import RateLimited, TollgateError
from tollgate.kit.tokens import Kind

_ECHOED: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "auto",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
}
"""What a response repeats of its request, and what it says where that was silent."""
_REASONS: Mapping[Stop, str] = {
    Stop.LENGTH: "max_output_tokens",
    Stop.CONTENT_FILTER: "content_filter",
}
"""Why a response is incomplete. One that can be continued is complete as far as this format can say."""


def name_of(generation_id: str) -> str:
    """What the ids of a response and its items have in common."""
    return generation_id.removeprefix("gen_")


def begun(request: Request, *, model: str, generation_id: str, created: int) -> dict[str, Any]:
    """A response of which nothing has come yet."""
    echoed = {name: _echo(request, name, silent) for name, silent in _ECHOED.items()}
    return {
        "id": f"resp_{name_of(generation_id)}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        **echoed,
        "metadata": request.attribution.metadata or {},
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        "user": request.attribution.user,
    }


def _echo(request: Request, name: str, silent: object) -> object:
    given = request.fields.get(name, envelope.NULL)
    return silent if given == envelope.NULL else given


def ending(stop: Stop | None) -> tuple[str, dict[str, Any]]:
    """The status of a response that ended so, and what it says of it."""
    if stop is Stop.ERROR:
        error = {"code": "server_error", "message": "The provider's answer ended in an error."}
        return "failed", {"status": "failed", "error": error}
    if stop is not None and stop in _REASONS:
        return "incomplete", {"status": "incomplete", "incomplete_details": {"reason": _REASONS[stop]}}
    return "completed", {"status": "completed"}


def failure(error: TollgateError) -> dict[str, Any]:
    """What a response says that failed; OpenAI knows few codes, and our own word is the type."""
    code = "rate_limit_exceeded" if isinstance(error, RateLimited) else "server_error"
    problem = {"code": code, "message": error.message, "type": error.type, "metadata": error.metadata}
    return {"status": "failed", "error": problem}


def told(receipt: Receipt) -> dict[str, Any]:
    """Model, provider, usage and cost of a response made from another format."""
    return {
        "model": receipt.model,
        "provider": receipt.provider,
        "usage": {**usage(receipt), **envelope.cost(receipt)},
    }


def usage(receipt: Receipt) -> dict[str, Any]:
    """The usage object, made of the quantities that were billed."""
    counts = receipt.quantities
    return {
        **totals(receipt),
        "input_tokens_details": {
            "cached_tokens": counts[Kind.INPUT_CACHE_READ],
            "cache_write_tokens": envelope.cache_writes(counts),
        },
        "output_tokens_details": {"reasoning_tokens": counts[Kind.INTERNAL_REASONING]},
    }


def totals(receipt: Receipt) -> dict[str, int]:
    """The totals that were billed."""
    read, written = receipt.quantities.prompt_tokens, receipt.quantities.completion_tokens
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def with_receipt(response: Mapping[str, msgspec.Raw], receipt: Receipt) -> dict[str, object]:
    """A provider's own response with model, provider and cost; its totals are the billed ones, if we had to count."""
    known = envelope.object_in(response, "usage")
    counted = {**known, **(totals(receipt) if receipt.estimated else {})} if known else usage(receipt)
    return {**response, **told(receipt), "usage": {**counted, **envelope.cost(receipt)}}
