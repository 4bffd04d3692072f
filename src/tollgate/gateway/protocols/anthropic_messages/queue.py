"""Blocks in a row: a stream of Anthropic's finishes one block before it begins the next, and others mix them.

The block in front is streamed as it comes. What belongs to later ones waits until no more of the front one can come:
words and thoughts end with whatever follows them, and a tool call when its arguments are whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tollgate.gateway import signatures, wire
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta

Event = Mapping[str, object]


@dataclass(slots=True)
class _Block:
    """A block under way."""

    start: dict[str, object]
    slot: int | None = None
    """Which tool call it is."""
    pending: list[Event] = field(default_factory=list)
    """What is not sent yet."""
    arguments: list[str] = field(default_factory=list)
    ended: bool = False
    """Whether it takes nothing more."""
    begun: bool = False


class Queue:
    """The blocks of one answer."""

    def __init__(self, generation_id: str) -> None:
        self._generation_id = generation_id
        self._waiting: list[_Block] = []
        """The block in front, and what comes after it."""
        self._calls: dict[int, _Block] = {}
        self._index = 0

    def take(self, delta: TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta) -> Iterator[Event]:
        """The events for one thing the provider said."""
        match delta:
            case TextDelta(text=text) | RefusalDelta(text=text):
                if text:
                    self._add({"type": "text", "text": ""}, {"type": "text_delta", "text": text})
            case ReasoningDelta(signature=str(signature), origin=origin, redacted=True):
                self._append(_Block({"type": "redacted_thinking", "data": carried(signature, origin)}, ended=True))
            case ReasoningDelta():
                self._think(delta)
            case ToolCallDelta():
                self._call(delta)
        return self._ready()

    def rest(self) -> Iterator[Event]:
        """What is left, now that nothing more comes."""
        for block in self._waiting:
            block.ended = True
        return self._ready()

    def _think(self, delta: ReasoningDelta) -> None:
        """Thoughts; a signature ends them."""
        if delta.text:
            self._add(_no_thought(), {"type": "thinking_delta", "thinking": delta.text})
        if delta.signature is not None:
            proof = carried(delta.signature, delta.origin)
            self._add(_no_thought(), {"type": "signature_delta", "signature": proof})
            self._waiting[-1].ended = True

    def _call(self, delta: ToolCallDelta) -> None:
        """A tool call that begins, or more of one that did."""
        block = self._calls.get(delta.slot)
        if block is None:
            if delta.signature is not None:
                # A block of its own, for it is the call's and no thought's.
                proof = carried(delta.signature, Wire.GENERATE_CONTENT)
                said: Event = {"type": "signature_delta", "signature": proof}
                self._append(_Block(_no_thought(), pending=[said], ended=True))
            call_id = delta.id or f"toolu_{self._generation_id}_{delta.slot}"
            start: dict[str, object] = {"type": "tool_use", "id": call_id, "name": delta.name or "", "input": {}}
            block = self._calls[delta.slot] = _Block(start, slot=delta.slot)
            self._append(block)
        elif delta.name and not block.start["name"] and not block.begun:
            block.start["name"] = delta.name
        if delta.arguments and not block.ended:
            block.arguments.append(delta.arguments)
            block.pending.append({"type": "input_json_delta", "partial_json": delta.arguments})

    def _add(self, start: dict[str, object], delta: Event) -> None:
        """Continue the last block if it is of this kind, else begin one."""
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.ended or last.start["type"] != start["type"]:
            last = _Block(start)
            self._append(last)
        last.pending.append(delta)

    def _append(self, block: _Block) -> None:
        """Put a block behind the last, which ends with that unless it is a tool call."""
        if self._waiting and self._waiting[-1].slot is None:
            self._waiting[-1].ended = True
        self._waiting.append(block)

    def _ready(self) -> Iterator[Event]:
        """What can be sent: all there is of the block in front, and of those behind it as far as they end."""
        while self._waiting:
            block = self._waiting[0]
            yield from self._sent(block)
            if not (block.ended or (len(self._waiting) > 1 and _is_whole(block.arguments))):
                return
            self._waiting.pop(0)
            block.ended = True
            yield from self._sent(block)
            yield {"type": "content_block_stop", "index": self._index}
            self._index += 1

    def _sent(self, block: _Block) -> Iterator[Event]:
        if block.slot is not None and not block.start["name"] and not block.ended:
            return  # A call begins with its name.
        if not block.begun:
            block.begun = True
            yield {"type": "content_block_start", "index": self._index, "content_block": block.start}
        for delta in block.pending:
            yield {"type": "content_block_delta", "index": self._index, "delta": delta}
        block.pending.clear()


def carried(signature: str, origin: str | None) -> str:
    """The signature as clients of this format get it."""
    return signatures.carried(signature, origin, within=Wire.MESSAGES.value)


def _no_thought() -> dict[str, object]:
    """How a block of thoughts begins."""
    return {"type": "thinking", "thinking": "", "signature": ""}


def _is_whole(arguments: list[str]) -> bool:
    """Whether nothing can be added to these arguments."""
    return bool(arguments) and arguments[-1].endswith("}") and wire.embedded("".join(arguments)) is not None
