"""An answer that came in another format, as a response: whole, or as a stream of numbered events.

Wire format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Delta,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    StopDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_responses import response
from tollgate.gateway.protocols.openai_responses.output import Event, Output, gathered
from tollgate.kit.errors import TollgateError


def rendered_answer(completion: Completion, request: Request, receipt: Receipt) -> bytes:
    """A whole response; of several choices the first."""
    created, name = envelope.created_at(receipt.generation_id), response.name_of(receipt.generation_id)
    choice = completion.choices[0] if completion.choices else Choice((), None, None)
    return msgspec.json.encode({
        **response.begun(request, model=receipt.model, generation_id=receipt.generation_id, created=created),
        "output": gathered(_deltas(choice), name),
        **response.ending(choice.stop)[1],
        **response.told(receipt),
    })  # fmt: skip


def _deltas(choice: Choice) -> Iterator[Delta]:
    """The answer as a stream would tell it, each part in one piece; likelihoods go with the first text."""
    logprobs = choice.logprobs
    for slot, part in enumerate(choice.parts):
        match part:
            case Text(text=text):
                yield TextDelta(text, logprobs=logprobs)
                logprobs = None
            case Refusal(text=text):
                yield RefusalDelta(text)
            case Reasoning():
                yield ReasoningDelta(part.text, part.signature, part.origin, part.redacted)
            case ToolCall():
                yield ToolCallDelta(slot, part.id, part.name, part.arguments, part.signature)
    if choice.stop is not None:
        yield StopDelta(choice.stop, choice.native_stop)


class ResponseRendering:
    """A stream of events; the one that says how the response ended waits for the settlement."""

    def __init__(self, request: Request, *, model: str, generation_id: str, created: int) -> None:
        self._response = response.begun(request, model=model, generation_id=generation_id, created=created)
        self._output = Output(response.name_of(generation_id))
        self._end: StopDelta | None = None
        self._number = 0

    def render(self, delta: Delta) -> bytes:
        """The events of one delta."""
        if isinstance(delta, StopDelta):
            self._end = delta if delta.choice == 0 else self._end
            return b""
        return self._begun() + self._encoded(self._output.take(delta))

    def _begun(self) -> bytes:
        """The first events, once."""
        if self._number:
            return b""
        return self._encoded(
            [(f"response.{what}", {"response": self._response}) for what in ("created", "in_progress")]
        )

    def _encoded(self, events: Iterable[Event]) -> bytes:
        return b"".join(self._event(kind, said) for kind, said in events)

    def _event(self, kind: str, said: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return wire.event(msgspec.json.encode({"type": kind, "sequence_number": number, **said}), kind)

    def end(self, receipt: Receipt) -> bytes:
        """The ends of all items, and the whole response with usage and cost."""
        closed = self._begun() + self._encoded(self._output.close(self._end))
        status, said = response.ending(None if self._end is None else self._end.stop)
        whole = {**self._response, "output": self._output.written(), **said, **response.told(receipt)}
        return closed + self._event(f"response.{status}", {"response": whole})

    def fail(self, error: TollgateError, status: int) -> bytes:
        """A response that failed."""
        del status
        failed = {**self._response, "output": self._output.written(), **response.failure(error)}
        return self._begun() + self._event("response.failed", {"response": failed, "error_type": error.type})


def rendering(request: Request, *, model: str, generation_id: str, created: int) -> ResponseRendering:
    """A stream about to be rendered."""
    return ResponseRendering(request, model=model, generation_id=generation_id, created=created)
