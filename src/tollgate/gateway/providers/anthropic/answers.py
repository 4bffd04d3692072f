"""Messages as Anthropic answers them, whole or streamed: bytes to an `Answer`, with usage in disjoint quantities.

Wire format: https://platform.claude.com/docs/en/api/messages/create and …/build-with-claude/streaming
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.model import Answer
from tollgate.gateway.neutral import Delta
from tollgate.gateway.providers.anthropic import meaning, usage

_TELLING = re.compile(rb'"type"\s*:\s*"(?:message_start|message_delta|error)"|"error"\s*:\s*\{')
"""What makes an event worth decoding. It cannot occur inside a JSON string, where quotes are escaped."""
_LAST = re.compile(rb'"type"\s*:\s*"message_stop"')


def read_answer(body: bytes) -> Answer | None:
    """What a whole answer says; `None` if it is no message at all."""
    decoded = wire.decoded(body)
    if decoded is None or not (isinstance(decoded.get("content"), list) or decoded.get("error")):
        return None
    told = decoded.get("usage")
    native = wire.text(decoded.get("stop_reason"))
    return Answer(
        usage=usage.read(told, whole=True) if isinstance(told, dict) else None,
        finish_reason=meaning.stop_of(native),
        native_finish_reason=native,
        upstream_id=wire.text(decoded.get("id")),
        service_tier=usage.served_tier(wire.mapping(told)),
        error=_error(decoded),
        text="".join(map(_written, wire.objects(decoded.get("content")))),
    )


class MessageReader:
    """A stream of message events, read for what it says about itself."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._begun = False
        self._usage: Mapping[str, Any] = {}
        self._blocks = meaning.Blocks()

    def look(self, data: bytes) -> bool:
        """Take note of the beginning, of usage, a stop reason or an error; all other events go undecoded."""
        if self._begun and _TELLING.search(data) is None:
            return True
        event = wire.decoded(data)
        if event is None or not (isinstance(event.get("type"), str) or event.get("error")):
            return self._begun and event is not None
        self._begun = True
        match event.get("type"):
            case "message_start":
                self._note_beginning(wire.mapping(event.get("message")))
            case "message_delta":
                self._note_end(event)
            case kind if kind == "error" or event.get("error"):
                self.answer = replace(self.answer, error=wire.error_message(event))
        return True

    def _note_beginning(self, message: Mapping[str, Any]) -> None:
        self._note_usage(wire.mapping(message.get("usage")), whole=False)
        self.answer = replace(self.answer, upstream_id=wire.text(message.get("id")))

    def _note_end(self, event: Mapping[str, Any]) -> None:
        delta = wire.mapping(event.get("delta"))
        # Beside `delta` by the documentation; some servers put it inside.
        for told in (delta.get("usage"), event.get("usage")):
            said = wire.mapping(told)
            self._note_usage(said, whole=wire.count(said.get("output_tokens")) is not None)
        native = wire.text(delta.get("stop_reason"))
        if native is not None:
            self.answer = replace(self.answer, finish_reason=meaning.stop_of(native), native_finish_reason=native)

    def _note_usage(self, said: Mapping[str, Any], *, whole: bool) -> None:
        if not said:
            return
        self._usage = usage.merged(self._usage, said)
        known = self.answer.usage
        whole = whole or (known is not None and known.completion_known)
        self.answer = replace(
            self.answer,
            usage=usage.read(self._usage, whole=whole) or known,
            service_tier=usage.served_tier(self._usage),
        )

    def find_telling(self, events: bytes, start: int) -> int:
        """Where there is more than a message's content: the message itself, or an error."""
        message, error = events.find(b'"message_', start), events.find(b'"error"', start)
        return max(message, error) if -1 in (message, error) else min(message, error)

    def is_last(self, data: bytes) -> bool:
        """Whether this is `message_stop`."""
        return _LAST.search(data) is not None and wire.mapping(wire.decoded(data)).get("type") == "message_stop"

    def deltas(self, data: bytes) -> Iterable[Delta]:
        """What an event adds to the answer."""
        event = wire.decoded(data)
        return () if event is None else self._blocks.deltas(event)


def reader() -> MessageReader:
    """A stream about to begin."""
    return MessageReader()


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(_written_in(event) for data in events if (event := wire.decoded(data)) is not None)


def _error(decoded: Mapping[str, Any]) -> str | None:
    return wire.error_message(decoded) if decoded.get("error") else None


def _written_in(event: Mapping[str, Any]) -> str:
    match event.get("type"):
        case "content_block_start":
            return _written(wire.mapping(event.get("content_block")))
        case "content_block_delta":
            delta = wire.mapping(event.get("delta"))
            return "".join(wire.text(delta.get(name)) or "" for name in ("text", "thinking", "partial_json"))
        case _:
            return ""


def _written(block: Mapping[str, Any]) -> str:
    """A block's words: text, visible thoughts, the name and arguments of a tool, ours or the provider's."""
    words = [wire.text(block.get(name)) or "" for name in ("text", "thinking")]
    if wire.text(block.get("type")) in {"tool_use", "server_tool_use", "mcp_tool_use"}:
        words.append(wire.text(block.get("name")) or "")
        if block.get("input"):
            words.append(meaning.json_of(block["input"]))
    return "".join(words)
