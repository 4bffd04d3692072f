"""An answer that came in another format, as a message of Anthropic's: whole, or event by event.

Wire format: https://platform.claude.com/docs/en/api/messages/create and …/build-with-claude/streaming
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Receipt, Request, Wire
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Delta,
    Reasoning,
    Refusal,
    RefusalDelta,
    Stop,
    StopDelta,
    Text,
    ToolCall,
    ToolCallDelta,
)
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.anthropic_messages import failures, usage
from tollgate.gateway.protocols.anthropic_messages.queue import Queue, carried
from tollgate.kit.errors import TollgateError

_WORDS: Mapping[Stop, str] = {
    Stop.STOP: "end_turn",
    Stop.LENGTH: "max_tokens",
    Stop.TOOL_CALLS: "tool_use",
    Stop.CONTENT_FILTER: "refusal",
    Stop.PAUSE: "pause_turn",
    Stop.ERROR: "end_turn",
}


def token_count(tokens: int) -> bytes:
    """The answer to a request to count tokens."""
    return msgspec.json.encode({"input_tokens": tokens})


def rendered_answer(completion: Completion, request: Request, receipt: Receipt) -> bytes:
    """A whole answer that came in another format; this one has room for one choice."""
    del request
    choice = completion.choices[0] if completion.choices else Choice((), None, None)
    content = [block for part in choice.parts for block in _blocks(part)]
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    message = {
        "id": _message_id(receipt.generation_id),
        "type": "message",
        "role": "assistant",
        "model": receipt.model,
        "content": content,
        "stop_reason": _stop_reason(choice.stop, choice.stop_sequence, called=called, refused=refused),
        "stop_sequence": choice.stop_sequence,
        "usage": _usage(receipt),
        "provider": receipt.provider,
    }
    return msgspec.json.encode(message)


def _blocks(part: Text | Refusal | Reasoning | ToolCall) -> Iterator[dict[str, object]]:
    match part:
        case Text(text=text) | Refusal(text=text):
            yield {"type": "text", "text": text}
        case Reasoning(signature=str(signature), origin=origin, redacted=True):
            yield {"type": "redacted_thinking", "data": carried(signature, origin)}
        case Reasoning(text=text, signature=signature, origin=origin):
            proof = "" if signature is None else carried(signature, origin)
            yield {"type": "thinking", "thinking": text, "signature": proof}
        case ToolCall(id=id, name=name, arguments=arguments, signature=signature):
            if signature is not None:
                # The call's proof is to come back with it, and a call has no room for one.
                proof = carried(signature, Wire.GENERATE_CONTENT)
                yield {"type": "thinking", "thinking": "", "signature": proof}
            yield {"type": "tool_use", "id": id, "name": name, "input": wire.embedded(arguments) or {}}


class MessageRendering:
    """A stream as Anthropic writes it: one block after the other, and its end once the call is settled."""

    def __init__(self, *, model: str, generation_id: str) -> None:
        self._model = model
        self._generation_id = generation_id
        self._begun = False
        self._queue = Queue(generation_id)
        self._stop: StopDelta | None = None
        self._called = False
        self._refused = False

    def render(self, delta: Delta) -> bytes:
        """The events for one thing the provider said. There is one answer; more were not asked for."""
        if delta.choice:
            return b""
        if isinstance(delta, StopDelta):
            self._stop = delta
            return self._beginning()
        self._called = self._called or isinstance(delta, ToolCallDelta)
        self._refused = self._refused or isinstance(delta, RefusalDelta)
        return self._beginning() + _events(self._queue.take(delta))

    def _beginning(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message: dict[str, object] = {
            "id": _message_id(self._generation_id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # What the call used is known at its end.
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _events([{"type": "message_start", "message": message}])

    def end(self, receipt: Receipt) -> bytes:
        """What is left of the blocks, how the message ended, with usage and cost, and the end of the stream."""
        stop, sequence = (None, None) if self._stop is None else (self._stop.stop, self._stop.stop_sequence)
        reason = _stop_reason(stop, sequence, called=self._called, refused=self._refused)
        last: list[Mapping[str, object]] = [
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": sequence},
                "usage": _usage(receipt),
                "model": receipt.model,
                "provider": receipt.provider,
            },
            {"type": "message_stop"},
        ]
        return self._beginning() + _events([*self._queue.rest(), *last])

    def fail(self, error: TollgateError, status: int) -> bytes:
        """An event that says what went wrong."""
        return failures.failure(error, status, self._generation_id)


def rendering(request: Request, *, model: str, generation_id: str, created: int) -> MessageRendering:
    """A stream that comes in another format; this one tells no time."""
    del request, created
    return MessageRendering(model=model, generation_id=generation_id)


def _stop_reason(stop: Stop | None, sequence: str | None, *, called: bool, refused: bool) -> str:
    """The reason in Anthropic's words.

    Some formats say `stop` of an answer that calls tools because it had to, or that declines. Here both are told apart.
    """
    if stop in {Stop.STOP, None}:
        if refused:
            return _WORDS[Stop.CONTENT_FILTER]
        if called:
            return _WORDS[Stop.TOOL_CALLS]
        if sequence is not None:
            return "stop_sequence"
    return _WORDS[stop or Stop.STOP]


def _usage(receipt: Receipt) -> dict[str, object]:
    return {**usage.told(receipt.quantities), **envelope.cost(receipt)}


def _message_id(generation_id: str) -> str:
    return f"msg_{generation_id}"


def _events(all_data: Iterable[Mapping[str, object]]) -> bytes:
    """Events, each under the name that is its type."""
    return b"".join(wire.event(msgspec.json.encode(data), str(data["type"])) for data in all_data)
