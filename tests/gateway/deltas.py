"""Completions as streams: told piece by piece, and put together again."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

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
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)


def deltas_of(completion: Completion) -> Iterator[Delta]:
    """The answer as a stream would tell it, each piece of text in two; the choices one after the other."""
    for number, choice in enumerate(completion.choices):
        slot = 0
        for part in choice.parts:
            yield from _pieces(part, number, slot, choice.logprobs)
            slot += isinstance(part, ToolCall)
        if choice.stop is not None:
            yield StopDelta(choice.stop, choice.native_stop, choice.stop_sequence, choice=number)


def _pieces(
    part: Text | Refusal | Reasoning | ToolCall, choice: int, slot: int, logprobs: tuple[TokenLogprob, ...] | None
) -> Iterator[Delta]:
    match part:
        case Text(text=text):
            first, second = _halves(text)
            yield TextDelta(first, choice, logprobs)
            if second:
                yield TextDelta(second, choice)
        case Refusal(text=text):
            yield from (RefusalDelta(half, choice) for half in _halves(text) if half)
        case Reasoning(redacted=True):
            yield ReasoningDelta(part.text, part.signature, part.origin, redacted=True, choice=choice)
        case Reasoning(text=text):
            yield from (ReasoningDelta(half, choice=choice) for half in _halves(text) if half)
            if part.signature is not None:
                yield ReasoningDelta("", part.signature, part.origin, choice=choice)
        case ToolCall():
            yield ToolCallDelta(slot, part.id, part.name, "", part.signature, choice)
            yield from (ToolCallDelta(slot, arguments=half, choice=choice) for half in _halves(part.arguments) if half)


def _halves(text: str) -> tuple[str, str]:
    middle = (len(text) + 1) // 2
    return text[:middle], text[middle:]


def collected(deltas: Iterable[Delta]) -> Completion:
    """The answer that a stream told: pieces joined, in the order in which each part began."""
    told_so_far: dict[int, list[Any]] = {}
    slots: dict[tuple[int, int], int] = {}
    ends: dict[int, StopDelta] = {}
    logprobs: dict[int, tuple[TokenLogprob, ...]] = {}
    for delta in deltas:
        parts = told_so_far.setdefault(delta.choice, [])
        match delta:
            case TextDelta(text=text):
                if delta.logprobs:
                    logprobs[delta.choice] = logprobs.get(delta.choice, ()) + delta.logprobs
                _append(parts, Text(text))
            case RefusalDelta(text=text):
                _append(parts, Refusal(text))
            case ReasoningDelta():
                _append(parts, Reasoning(delta.text, delta.signature, delta.origin, delta.redacted))
            case ToolCallDelta(slot=slot):
                if (delta.choice, slot) not in slots:
                    slots[delta.choice, slot] = len(parts)
                    parts.append(ToolCall("", "", ""))
                at = slots[delta.choice, slot]
                parts[at] = _continued(parts[at], delta)
            case StopDelta():
                ends[delta.choice] = delta
    return Completion(tuple(
        _ended(tuple(parts), ends.get(choice), logprobs.get(choice)) for choice, parts in sorted(told_so_far.items())
    ))  # fmt: skip


def _append(parts: list[Any], piece: Text | Refusal | Reasoning) -> None:
    match parts[-1] if parts else None, piece:
        case (Reasoning(signature=None, text=before), Reasoning(redacted=False)):
            parts[-1] = replace(piece, text=before + piece.text)
        case (Text(text=before), Text()) | (Refusal(text=before), Refusal()):
            parts[-1] = replace(piece, text=before + piece.text)
        case _ if piece.text or isinstance(piece, Reasoning):
            parts.append(piece)


def _continued(call: ToolCall, delta: ToolCallDelta) -> ToolCall:
    return ToolCall(
        delta.id or call.id,
        delta.name or call.name,
        call.arguments + delta.arguments,
        delta.signature or call.signature,
    )


def _ended(parts: tuple[Any, ...], end: StopDelta | None, logprobs: tuple[TokenLogprob, ...] | None) -> Choice:
    if end is None:
        return Choice(parts, None, None, logprobs=logprobs)
    return Choice(parts, end.stop, end.native_stop, end.stop_sequence, logprobs)
