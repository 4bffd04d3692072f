"""Messages in neutral form: what a provider's answer means, whole or event by event.

What the provider's own tools did is left out: only calls that are passed may use them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Delta,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)

_STOPS: Mapping[str, Stop] = {
    "end_turn": Stop.STOP,
    "stop_sequence": Stop.STOP,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "tool_use": Stop.TOOL_CALLS,
    "refusal": Stop.CONTENT_FILTER,
    "pause_turn": Stop.PAUSE,
}
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CONTENT = msgspec.json.Decoder(list[msgspec.Raw])


def stop_of(native: str | None) -> Stop | None:
    """The reason in neutral words. Of a word we do not know, we know that the answer has ended."""
    return None if native is None else _STOPS.get(native, Stop.STOP)


def json_of(value: object) -> str:
    """Arguments that came decoded, as JSON text again; those of an empty call, should they be nested too deep."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return "{}"


def completion(body: bytes) -> Completion:
    """What a whole message means."""
    decoded = wire.decoded(body) or {}
    native = wire.text(decoded.get("stop_reason"))
    blocks = zip(wire.items(decoded.get("content")), _encoded_content(body), strict=False)
    parts = (_part(block, encoded) for block, encoded in blocks if isinstance(block, dict))
    return Completion((
        Choice(
            parts=tuple(part for part in parts if part is not None),
            stop=stop_of(native),
            native_stop=native,
            stop_sequence=wire.text(decoded.get("stop_sequence")),
        ),
    ))  # fmt: skip


def _encoded_content(body: bytes) -> list[msgspec.Raw]:
    """The content blocks as they came: arguments are passed on digit by digit."""
    try:
        return _CONTENT.decode(_FIELDS.decode(wire.mended(body)).get("content", b"[]"))
    except wire.UNREADABLE:
        return []


def _part(block: Mapping[str, Any], encoded: msgspec.Raw) -> Text | Refusal | Reasoning | ToolCall | None:
    match block.get("type"):
        case "text":
            return Text(wire.text(block.get("text")) or "")
        case "thinking":
            signature = wire.text(block.get("signature")) or None
            return Reasoning(wire.text(block.get("thinking")) or "", signature, signature and Wire.MESSAGES.value)
        case "redacted_thinking":
            return Reasoning("", wire.text(block.get("data")), Wire.MESSAGES.value, redacted=True)
        case "tool_use":
            arguments = bytes(_FIELDS.decode(encoded).get("input", b"{}")).decode()
            return ToolCall(wire.text(block.get("id")) or "", wire.text(block.get("name")) or "", arguments)
        case _:
            return None


class Blocks:
    """The content blocks of a stream under way."""

    def __init__(self) -> None:
        self._slots: dict[object, int] = {}
        """Which of the answer's tool calls a block is, by the block's index."""
        self._calls = 0
        self._argued: set[int] = set()
        """The tool calls that have arguments."""

    def deltas(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        """What an event adds to the answer."""
        index = wire.count(event.get("index"))
        match event.get("type"):
            case "content_block_start":
                yield from self._begin(index, wire.mapping(event.get("content_block")))
            case "content_block_delta":
                yield from self._continue(index, wire.mapping(event.get("delta")))
            case "content_block_stop":
                slot = self._slots.get(index)
                if slot is not None and slot not in self._argued:
                    yield self._arguments(slot, "{}")
            case "message_delta":
                delta = wire.mapping(event.get("delta"))
                native = wire.text(delta.get("stop_reason"))
                stop = stop_of(native)
                if stop is not None:
                    yield StopDelta(stop, native, wire.text(delta.get("stop_sequence")))

    def _begin(self, index: int | None, block: Mapping[str, Any]) -> Iterator[Delta]:
        match block.get("type"):
            case "text" if text := wire.text(block.get("text")):
                yield TextDelta(text)
            case "thinking":
                text, signature = wire.text(block.get("thinking")) or "", wire.text(block.get("signature")) or None
                if text or signature:
                    yield ReasoningDelta(text, signature, signature and Wire.MESSAGES.value)
            case "redacted_thinking":
                yield ReasoningDelta("", wire.text(block.get("data")), Wire.MESSAGES.value, redacted=True)
            case "tool_use":
                slot = self._slots[index] = self._calls
                self._calls += 1
                yield ToolCallDelta(slot, wire.text(block.get("id")) or "", wire.text(block.get("name")) or "")
                if block.get("input"):
                    yield self._arguments(slot, json_of(block["input"]))

    def _continue(self, index: int | None, delta: Mapping[str, Any]) -> Iterator[Delta]:
        match delta.get("type"):
            case "text_delta":
                yield TextDelta(wire.text(delta.get("text")) or "")
            case "thinking_delta":
                yield ReasoningDelta(wire.text(delta.get("thinking")) or "")
            case "signature_delta" if signature := wire.text(delta.get("signature")):
                yield ReasoningDelta("", signature, Wire.MESSAGES.value)
            case "input_json_delta" if index in self._slots and (more := wire.text(delta.get("partial_json"))):
                yield self._arguments(self._slots[index], more)

    def _arguments(self, slot: int, more: str) -> ToolCallDelta:
        self._argued.add(slot)
        return ToolCallDelta(slot, arguments=more)
