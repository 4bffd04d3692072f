"""An answer in another format becomes output items, piece by piece, and the events that tell of them.

Wire format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterable
from typing import Any

from tollgate.gateway import signatures
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    Stop,
    StopDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)

Event = tuple[str, dict[str, Any]]
"""The type of an event, and what it says besides."""

_INCOMPLETE = frozenset({Stop.LENGTH, Stop.CONTENT_FILTER})


class _Item:
    """One output item under way; it counts its place in the output."""

    kind = ""

    def __init__(self, index: int, name: str) -> None:
        self.id = f"{self.kind}_{name}_{index}"
        self.place = {"item_id": self.id, "output_index": index}

    def written(self, status: str) -> dict[str, Any]:
        """The item as far as it is known."""
        raise NotImplementedError

    def closed(self) -> list[Event]:
        """The events by which its content ends."""
        raise NotImplementedError

    def begun(self) -> Event:
        """The event by which it begins."""
        return self._told("added", "in_progress")

    def ended(self, status: str) -> list[Event]:
        """The events by which it ends."""
        return [*self.closed(), self._told("done", status)]

    def _told(self, what: str, status: str) -> Event:
        told = {"output_index": self.place["output_index"], "item": self.written(status)}
        return f"response.output_item.{what}", told


class _Message(_Item):
    """Words and refusals: each a content part."""

    kind = "msg"

    def __init__(self, index: int, name: str) -> None:
        super().__init__(index, name)
        self._parts: list[_Part] = []

    def written(self, status: str) -> dict[str, Any]:
        content = [part.written() for part in self._parts]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}

    def say(self, delta: TextDelta | RefusalDelta) -> list[Event]:
        """More words."""
        kind = "output_text" if isinstance(delta, TextDelta) else "refusal"
        events: list[Event] = []
        if not self._parts or self._parts[-1].kind != kind:
            events += self.closed()
            self._parts.append(_Part(kind))
            events.append(("response.content_part.added", {**self._spot(), "part": self._parts[-1].written()}))
        return [*events, (f"response.{kind}.delta", {**self._spot(), **self._parts[-1].say(delta)})]

    def closed(self) -> list[Event]:
        if not self._parts:
            return []
        part = self._parts[-1].written()
        said = {name: value for name, value in part.items() if name not in {"type", "annotations"}}
        return [
            (f"response.{self._parts[-1].kind}.done", {**self._spot(), **said}),
            ("response.content_part.done", {**self._spot(), "part": part}),
        ]

    def _spot(self) -> dict[str, Any]:
        return {**self.place, "content_index": len(self._parts) - 1}


class _Part:
    """One content part of a message."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def written(self) -> dict[str, Any]:
        text = "".join(self._pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self._logprobs}

    def say(self, delta: TextDelta | RefusalDelta) -> dict[str, Any]:
        """More words, as the event tells them."""
        self._pieces.append(delta.text)
        if isinstance(delta, RefusalDelta):
            return {"delta": delta.text}
        logprobs = [_logprob(token) for token in delta.logprobs or ()]
        self._logprobs += logprobs
        return {"delta": delta.text, "logprobs": logprobs}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {**_likely(token), "top_logprobs": [_likely(other) for other in token.top]}


def _likely(token: TokenLogprob) -> dict[str, Any]:
    encoded = {} if token.bytes is None else {"bytes": token.bytes}
    return {"token": token.token, "logprob": token.logprob, **encoded}


class _Thought(_Item):
    """Thoughts: their text is a summary of one part; none at all stands for thoughts that are not shown."""

    kind = signatures.FOREIGN_THOUGHT

    def __init__(self, index: int, name: str) -> None:
        super().__init__(index, name)
        self._pieces: list[str] = []
        self._encrypted: str | None = None

    def written(self, status: str) -> dict[str, Any]:
        del status
        encrypted = {} if self._encrypted is None else {"encrypted_content": self._encrypted}
        return {"id": self.id, "type": "reasoning", "summary": self._summary(), **encrypted}

    def _summary(self) -> list[dict[str, Any]]:
        return [{"type": "summary_text", "text": "".join(self._pieces)}] if self._pieces else []

    @property
    def is_begun(self) -> bool:
        """Whether anything of it is shown."""
        return bool(self._pieces)

    def think(self, text: str) -> list[Event]:
        """More thoughts."""
        spot = {**self.place, "summary_index": 0}
        part = {"type": "summary_text", "text": ""}
        added: list[Event] = [] if self._pieces else [("response.reasoning_summary_part.added", {**spot, "part": part})]
        self._pieces.append(text)
        return [*added, ("response.reasoning_summary_text.delta", {**spot, "delta": text})]

    def sign(self, signature: str, origin: str | None) -> None:
        """Put the proof to it, or the thoughts themselves, encrypted."""
        self._encrypted = signatures.carried(signature, origin, within=Wire.RESPONSES.value)

    def closed(self) -> list[Event]:
        spot = {**self.place, "summary_index": 0}
        return [
            event
            for part in self._summary()
            for event in (
                ("response.reasoning_summary_text.done", {**spot, "text": part["text"]}),
                ("response.reasoning_summary_part.done", {**spot, "part": part}),
            )
        ]


class _Call(_Item):
    """A function call."""

    kind = "fc"

    def __init__(self, index: int, name: str, delta: ToolCallDelta) -> None:
        super().__init__(index, name)
        self._call_id = delta.id or f"call_{name}_{index}"
        self._name = delta.name or ""
        self._pieces: list[str] = []

    def written(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "arguments": "".join(self._pieces),
            "call_id": self._call_id,
            "name": self._name,
        }

    def go_on(self, arguments: str) -> list[Event]:
        """More of its arguments."""
        if not arguments:
            return []
        self._pieces.append(arguments)
        return [("response.function_call_arguments.delta", {**self.place, "delta": arguments})]

    def closed(self) -> list[Event]:
        said = {"arguments": "".join(self._pieces), "name": self._name}
        return [("response.function_call_arguments.done", {**self.place, **said})]


class Output:
    """The items of an answer. Words and thoughts come one after the other; calls stay open, as they may interleave.

    What comes after a call ends after it, too: items end in the order in which they began.
    A signature that belongs to a call has no place there: it stands right before it, as a thought of its own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._items: list[_Item] = []
        self._written: dict[str, dict[str, Any]] = {}
        """The items that have ended."""
        self._open: _Message | _Thought | None = None
        self._calls: dict[int, _Call] = {}

    def take(self, delta: Delta) -> list[Event]:
        """More of the answer; of several choices the first alone."""
        if delta.choice != 0:
            return []
        match delta:
            case TextDelta() | RefusalDelta():
                return self._say(delta)
            case ReasoningDelta():
                return self._think(delta)
            case ToolCallDelta():
                return self._call(delta)
            case _:
                return []

    def _say(self, delta: TextDelta | RefusalDelta) -> list[Event]:
        if not delta.text and (isinstance(delta, RefusalDelta) or not delta.logprobs):
            return []
        events: list[Event] = []
        message = self._open
        if not isinstance(message, _Message):
            events += self._close()
            message = self._open = _Message(len(self._items), self._name)
            events += self._begin(message)
        return events + message.say(delta)

    def _think(self, delta: ReasoningDelta) -> list[Event]:
        if not delta.text and delta.signature is None:
            return []
        events: list[Event] = []
        thought = self._open
        if not isinstance(thought, _Thought) or (delta.redacted and thought.is_begun):
            events += self._close()
            thought = self._open = _Thought(len(self._items), self._name)
            events += self._begin(thought)
        if delta.text or not (delta.redacted or thought.is_begun):
            events += thought.think(delta.text)
        if delta.signature is not None:
            thought.sign(delta.signature, delta.origin)
            events += self._close()
        return events

    def _call(self, delta: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        if delta.slot not in self._calls:
            events += self._close()
            if delta.signature is not None:
                origin = Wire.GENERATE_CONTENT.value
                events += self._think(ReasoningDelta("", delta.signature, origin, redacted=True))
            self._calls[delta.slot] = call = _Call(len(self._items), self._name, delta)
            events += self._begin(call)
        return events + self._calls[delta.slot].go_on(delta.arguments)

    def _begin(self, item: _Item) -> list[Event]:
        self._items.append(item)
        return [item.begun()]

    def _close(self) -> list[Event]:
        """End what is being said or thought; if calls are open, with them."""
        item, self._open = self._open, None
        return [] if item is None or self._calls else self._end(item, "completed")

    def _end(self, item: _Item, status: str) -> list[Event]:
        self._written[item.id] = item.written(status)
        return item.ended(status)

    def close(self, end: StopDelta | None) -> list[Event]:
        """End whatever is open; what came last may have been cut off."""
        cut_off = end is not None and end.stop in _INCOMPLETE
        left = [item for item in self._items if item.id not in self._written]
        events: list[Event] = []
        for item in left:
            events += self._end(item, "incomplete" if cut_off and item is self._items[-1] else "completed")
        self._open, self._calls = None, {}
        return events

    def written(self) -> list[dict[str, Any]]:
        """All items that have ended."""
        return [self._written[item.id] for item in self._items if item.id in self._written]


def gathered(deltas: Iterable[Delta], name: str) -> list[dict[str, Any]]:
    """The output items of a whole answer."""
    output, end = Output(name), None
    for delta in deltas:
        output.take(delta)
        end = delta if isinstance(delta, StopDelta) and delta.choice == 0 else end
    output.close(end)
    return output.written()
