"""A chat completion that came in another format: from the neutral form to bytes, whole and chunk by chunk.

Wire format: https://platform.openai.com/docs/api-reference/chat/object and /streaming, with thoughts in `reasoning` and
`reasoning_details`, as OpenRouter has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tollgate.gateway import reasoning_details, wire
from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Delta,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_chat.passing import DONE, failure, totals
from tollgate.kit.errors import TollgateError
from tollgate.kit.tokens import Kind

_WORDS = {Stop.PAUSE: "stop"}
"""Reasons that this format has no word of its own for."""


def rendered_answer(completion: Completion, request: Request, receipt: Receipt) -> bytes:
    """A whole chat completion."""
    del request
    return msgspec.json.encode({
        "id": receipt.generation_id,
        "object": "chat.completion",
        "created": envelope.created_at(receipt.generation_id),
        "model": receipt.model,
        "provider": receipt.provider,
        "choices": [_choice(number, choice) for number, choice in enumerate(completion.choices)],
        "usage": usage(receipt),
    })  # fmt: skip


def usage(receipt: Receipt) -> dict[str, Any]:
    """The quantities that were billed, as OpenAI tells them, and what they cost."""
    quantities = receipt.quantities
    searches = quantities[Kind.WEB_SEARCH]
    return {
        **totals(receipt),
        "prompt_tokens_details": {
            "cached_tokens": quantities[Kind.INPUT_CACHE_READ],
            "cache_write_tokens": envelope.cache_writes(quantities),
            "audio_tokens": quantities[Kind.INPUT_AUDIO],
            "image_tokens": quantities[Kind.INPUT_IMAGE],
        },
        "completion_tokens_details": {
            "reasoning_tokens": quantities[Kind.INTERNAL_REASONING],
            "audio_tokens": quantities[Kind.OUTPUT_AUDIO],
            "image_tokens": quantities[Kind.OUTPUT_IMAGE],
        },
        **({"server_tool_use_details": {"web_search_requests": searches}} if searches else {}),
        **envelope.cost(receipt),
    }


def _choice(number: int, choice: Choice) -> dict[str, Any]:
    return {
        "index": number,
        "message": _message(choice),
        "logprobs": None if choice.logprobs is None else _logprobs(choice.logprobs),
        "finish_reason": None if choice.stop is None else _WORDS.get(choice.stop, choice.stop.value),
    }


def _message(choice: Choice) -> dict[str, Any]:
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    refusals = [part.text for part in choice.parts if isinstance(part, Refusal)]
    thoughts = [part for part in choice.parts if isinstance(part, Reasoning)]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if thoughts:
        message["reasoning"] = "".join(thought.text for thought in thoughts) or None
        message["reasoning_details"] = [
            reasoning_details.written(thought, index) for index, thought in enumerate(thoughts)
        ]
    if calls:
        message["tool_calls"] = [_call(call.id, call.name, call.arguments, call.signature) for call in calls]
    return message


def _call(call_id: str, name: str, arguments: str, signature: str | None) -> dict[str, Any]:
    call: dict[str, Any] = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return call | reasoning_details.signed_call(signature)


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {"content": [{**_token(token), "top_logprobs": [_token(top) for top in token.top]} for token in tokens],
            "refusal": None}  # fmt: skip


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": token.bytes}


class ChatRendering:
    """A stream of chat completion chunks; the finish reasons and the usage wait for the settlement."""

    def __init__(self, request: Request, *, model: str, generation_id: str, created: int) -> None:
        self._include_usage = request.include_usage
        self._head = {"id": generation_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._begun: set[int] = set()
        self._thoughts: dict[int, tuple[int, bool]] = {}
        """Of each choice, the index of the thought that comes next or has begun, and whether it has."""
        self._stops: list[StopDelta] = []

    def render(self, delta: Delta) -> bytes:
        """The chunk for one thing the provider said."""
        match delta:
            case TextDelta():
                return self._chunk(delta.choice, {"content": delta.text}, logprobs=delta.logprobs)
            case RefusalDelta():
                return self._chunk(delta.choice, {"refusal": delta.text})
            case ReasoningDelta():
                return self._chunk(delta.choice, self._thought(delta))
            case ToolCallDelta():
                return self._chunk(delta.choice, {"tool_calls": [_call_piece(delta)]})
            case StopDelta():
                self._stops.append(delta)
                return b""

    def _thought(self, delta: ReasoningDelta) -> dict[str, Any]:
        """A piece of a thought; a signature closes it, so that the next piece is of another. One not shown is whole."""
        index, has_begun = self._thoughts.get(delta.choice, (0, False))
        if delta.redacted and has_begun:
            index += 1
        self._thoughts[delta.choice] = (index, True) if delta.signature is None else (index + 1, False)
        shown = {"reasoning": delta.text} if delta.text else {}
        return {**shown, "reasoning_details": [reasoning_details.written(delta, index)]}

    def _chunk(
        self, choice: int, delta: Mapping[str, Any], *,
        logprobs: Sequence[TokenLogprob] | None = None, finish_reason: str | None = None,
    ) -> bytes:  # fmt: skip
        role = {} if choice in self._begun else {"role": "assistant"}
        self._begun.add(choice)
        likely = None if logprobs is None else _logprobs(logprobs)
        told = {"index": choice, "delta": {**role, **delta}, "logprobs": likely, "finish_reason": finish_reason}
        nothing = {"usage": None} if self._include_usage else {}
        return wire.event(msgspec.json.encode({**self._head, "choices": [told], **nothing}))

    def end(self, receipt: Receipt) -> bytes:
        """The finish reasons, the usage with model, provider and cost for who asked for it, and `[DONE]`."""
        words = [(stop.choice, _WORDS.get(stop.stop, stop.stop.value)) for stop in self._stops]
        events = [self._chunk(choice, {}, finish_reason=word) for choice, word in words]
        if self._include_usage:
            told = {"model": receipt.model, "provider": receipt.provider, "choices": [], "usage": usage(receipt)}
            events.append(wire.event(msgspec.json.encode({**self._head, **told})))
        return b"".join(events) + DONE

    def fail(self, error: TollgateError, status: int) -> bytes:
        """A chunk that says what went wrong, and `[DONE]`."""
        return failure(error, status)


def _call_piece(delta: ToolCallDelta) -> dict[str, Any]:
    if delta.id is None:
        signed = reasoning_details.signed_call(delta.signature)
        return {"index": delta.slot, "function": {"arguments": delta.arguments}, **signed}
    return {"index": delta.slot, **_call(delta.id, delta.name or "", delta.arguments, delta.signature)}


def rendering(request: Request, *, model: str, generation_id: str, created: int) -> ChatRendering:
    """A stream about to begin."""
    return ChatRendering(request, model=model, generation_id=generation_id, created=created)
