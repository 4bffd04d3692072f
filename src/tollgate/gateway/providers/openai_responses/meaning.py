"""Responses in neutral form: what a provider's answer means, whole or event by event.

Wire format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
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
    ToolCall,
    ToolCallDelta,
)
from tollgate.gateway.providers import openai_logprobs

FAILED = frozenset({"failed", "cancelled"})
"""Statuses of responses that are none."""

_CALLS = frozenset({
    "apply_patch_call", "computer_call", "custom_tool_call", "function_call", "local_shell_call", "shell_call",
})  # fmt: skip
"""Items by which the model waits for its client."""
_INCOMPLETE: Mapping[str, Stop] = {"max_output_tokens": Stop.LENGTH, "content_filter": Stop.CONTENT_FILTER}
_BETWEEN_PARAGRAPHS = "\n\n"
"""Each paragraph of a summary of thoughts is a part of its own."""


def completion(body: bytes) -> Completion:
    """What a whole response means."""
    response = wire.decoded(body) or {}
    ended, items = ending(response), wire.objects(response.get("output"))
    contents = [part for item in items for part in wire.objects(item.get("content"))]
    logprobs = tuple(token for part in contents for token in openai_logprobs.read(part.get("logprobs")))
    return Completion((
        Choice(
            parts=tuple(part for item in items for part in _parts(item)),
            stop=None if ended is None else ended.stop,
            native_stop=None if ended is None else ended.native_stop,
            logprobs=logprobs or None,
        ),
    ))  # fmt: skip


def response_of(event: Mapping[str, Any], status: str) -> Mapping[str, Any]:
    """The response in the last event of a stream, which is of this status even if it does not say so."""
    response = wire.mapping(event.get("response"))
    return response if isinstance(response.get("status"), str) else {**response, "status": status}


def ending(response: Mapping[str, Any]) -> StopDelta | None:
    """How a response ended, if it did."""
    status = wire.text(response.get("status"))
    items = wire.objects(response.get("output"))
    if status == "incomplete":
        reason = wire.text(wire.mapping(response.get("incomplete_details")).get("reason"))
        # What else interrupts a response leaves one that can be continued.
        return StopDelta(_INCOMPLETE.get(reason or "", Stop.PAUSE), reason or status)
    if status in FAILED or response.get("error"):
        return StopDelta(Stop.ERROR, status or "failed")
    if status == "completed" or (status is None and items):
        waits = any(wire.text(item.get("type")) in _CALLS for item in items)
        return StopDelta(Stop.TOOL_CALLS if waits else Stop.STOP, status)
    return None


def _parts(item: Mapping[str, Any]) -> Iterator[Text | Refusal | Reasoning | ToolCall]:
    match item:
        case {"type": "message"}:
            for part in wire.objects(item.get("content")):
                if text := wire.text(part.get("text")):
                    yield Text(text)
                if refusal := wire.text(part.get("refusal")):
                    yield Refusal(refusal)
        case {"type": "reasoning"}:
            texts = _thoughts(item)
            text, signature = _BETWEEN_PARAGRAPHS.join(texts), wire.text(item.get("encrypted_content"))
            if text or signature:
                origin = None if not signature else Wire.RESPONSES.value
                yield Reasoning(text, signature or None, origin, redacted=bool(signature) and not texts)
        case {"type": "function_call"}:
            yield ToolCall(_call_id(item), wire.text(item.get("name")) or "", wire.text(item.get("arguments")) or "")


def _thoughts(item: Mapping[str, Any]) -> list[str]:
    """The paragraphs of a summary, or the thoughts themselves, where a model shows them."""
    parts = [*wire.objects(item.get("summary")), *wire.objects(item.get("content"))]
    return [text for part in parts if (text := wire.text(part.get("text"))) is not None]


def _call_id(item: Mapping[str, Any]) -> str:
    return wire.text(item.get("call_id")) or wire.text(item.get("id")) or ""


class Meaning:
    """A stream of events on its way to neutral form: what of each item has been told."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        """The slots of function calls, by their place in the output."""
        self._told: set[int] = set()
        """The places in the output whose text, thoughts or arguments have been told."""
        self._ended = False

    def deltas(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        """What an event adds to the answer."""
        kind, place = wire.text(event.get("type")) or "", wire.count(event.get("output_index")) or 0
        delta = wire.text(event.get("delta")) or ""
        match kind.removeprefix("response."):
            case "output_item.added":
                yield from self._begun(wire.mapping(event.get("item")), place)
            case "output_text.delta":
                yield from self._tell(
                    place, TextDelta(delta, logprobs=openai_logprobs.read(event.get("logprobs")) or None)
                )
            case "refusal.delta":
                yield from self._tell(place, RefusalDelta(delta))
            case "reasoning_summary_part.added" if wire.count(event.get("summary_index")):
                yield from self._tell(place, ReasoningDelta(_BETWEEN_PARAGRAPHS))
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                yield from self._tell(place, ReasoningDelta(delta)) if delta else ()
            case "function_call_arguments.delta" if place in self._slots:
                yield from self._tell(place, ToolCallDelta(self._slots[place], arguments=delta))
            case "output_item.done":
                yield from self._finished(wire.mapping(event.get("item")), place)
            case "completed" | "incomplete" | "failed" as status if not self._ended:
                yield from self._end(response_of(event, status))

    def _tell(self, place: int, delta: Delta) -> Iterator[Delta]:
        self._told.add(place)
        yield delta

    def _begun(self, item: Mapping[str, Any], place: int) -> Iterator[Delta]:
        if item.get("type") != "function_call" or place in self._slots:
            return
        slot = self._slots[place] = len(self._slots)
        arguments = wire.text(item.get("arguments")) or ""
        if arguments:
            self._told.add(place)
        yield ToolCallDelta(slot, _call_id(item), wire.text(item.get("name")) or "", arguments)

    def _finished(self, item: Mapping[str, Any], place: int) -> Iterator[Delta]:
        """The end of an item: a thought's signature, and whatever a server did not stream."""
        yield from self._begun(item, place)
        is_told = place in self._told
        self._told.add(place)
        for part in _parts(item):
            match part:
                case Text(text=text) if not is_told:
                    yield TextDelta(text)
                case Refusal(text=text) if not is_told:
                    yield RefusalDelta(text)
                case ToolCall(arguments=arguments) if not is_told:
                    yield ToolCallDelta(self._slots[place], arguments=arguments)
                case Reasoning():
                    if not is_told and part.text:
                        yield ReasoningDelta(part.text)
                    if part.signature is not None:
                        yield ReasoningDelta("", part.signature, part.origin, part.redacted)
                case _:
                    pass

    def _end(self, response: Mapping[str, Any]) -> Iterator[Delta]:
        self._ended = True
        ended = ending(response)
        if ended is not None and ended.stop is Stop.STOP and self._slots:
            ended = StopDelta(Stop.TOOL_CALLS, ended.native_stop)
        if ended is not None:
            yield ended
