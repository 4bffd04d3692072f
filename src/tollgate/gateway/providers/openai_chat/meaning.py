"""Chat completions in neutral form: what a provider's answer means, whole or chunk by chunk.

Wire format: https://platform.openai.com/docs/api-reference/chat/object, and what compatible servers add to it:
thoughts as `reasoning` or `reasoning_content`, in `reasoning_details` (OpenRouter) or among the content (Mistral).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tollgate.gateway import reasoning_details, wire
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
from tollgate.gateway.providers import openai_logprobs

_STOPS: Mapping[str, Stop] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), Stop.LENGTH),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), Stop.TOOL_CALLS),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "sensitive", "recitation", "refusal"), Stop.CONTENT_FILTER
    ),
    **dict.fromkeys(("error", "abort", "network_error", "insufficient_system_resource"), Stop.ERROR),
}
"""Reasons that are not simply that the model was done; the last line by OpenRouter, vLLM, Z.AI and DeepSeek."""
_THOUGHTS = ("reasoning", "reasoning_content")
SAID_BESIDE_CONTENT = (*_THOUGHTS, "reasoning_details", "refusal", "tool_calls", "function_call")
"""Where a message says something that is not in its content."""
_UNFIT_FOR_ID = re.compile(r"[^A-Za-z0-9]")
_ID_CHARACTERS = 24


def completion(body: bytes) -> Completion:
    """What a whole chat completion means."""
    decoded = wire.decoded(body) or {}
    return Completion(tuple(_choice(choice, decoded) for choice in wire.objects(decoded.get("choices"))))


def _choice(choice: Mapping[str, Any], decoded: Mapping[str, Any]) -> Choice:
    message = wire.mapping(choice.get("message"))
    calls = calls_of(message)
    ended = ending(choice, has_calls=bool(calls))
    return Choice(
        parts=(*spoken(message), *(_tool_call(call, slot, decoded) for slot, call in enumerate(calls))),
        stop=None if ended is None else ended.stop,
        native_stop=None if ended is None else ended.native_stop,
        stop_sequence=None if ended is None else ended.stop_sequence,
        logprobs=_logprobs(choice),
    )


def spoken(message: Mapping[str, Any]) -> Iterator[Text | Refusal | Reasoning]:
    """What a message, or the delta of one, says besides its tool calls: thoughts first."""
    details = reasoning_details.said_by_provider(message.get("reasoning_details"))
    thought = next((text for name in _THOUGHTS if (text := wire.text(message.get(name)))), None)
    if details:
        yield from details
    elif thought is not None:
        yield Reasoning(thought)
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else wire.objects(content)
    yield from (part for each in parts if (part := _content_part(each)) is not None)
    refusal = wire.text(message.get("refusal"))
    if refusal:
        yield Refusal(refusal)


def _content_part(part: Mapping[str, Any]) -> Text | Refusal | Reasoning | None:
    match part:
        case {"type": "text", "text": str(text)} if text:
            return Text(text)
        case {"type": "refusal", "refusal": str(text)} if text:
            return Refusal(text)
        case {"type": "thinking", "thinking": thinking}:
            texts = [thinking] if isinstance(thinking, str) else [each.get("text") for each in wire.objects(thinking)]
            thought = "".join(text for text in texts if isinstance(text, str))
            return Reasoning(thought) if thought else None
        case _:
            return None


def calls_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tool calls of a message, or of the delta of one; the one in the old form as well."""
    calls = wire.objects(message.get("tool_calls"))
    old = message.get("function_call")
    return calls if calls or not isinstance(old, dict) else [{"function": old}]


def _tool_call(call: Mapping[str, Any], slot: int, decoded: Mapping[str, Any]) -> ToolCall:
    function = wire.mapping(call.get("function"))
    return ToolCall(
        id=wire.text(call.get("id")) or _made_id(decoded, slot),
        name=wire.text(function.get("name")) or "",
        arguments=arguments_of(function),
        signature=reasoning_details.call_signature(call),
    )


def arguments_of(function: Mapping[str, Any]) -> str:
    """JSON text; some servers write the object itself."""
    given = function.get("arguments")
    if isinstance(given, dict):
        return msgspec.json.encode(given).decode()
    return wire.text(given) or ""


def _made_id(decoded: Mapping[str, Any], slot: int) -> str:
    """An id for a call that has none: the answer's own, so that it stays the only one of its name in a conversation."""
    answer = _UNFIT_FOR_ID.sub("", wire.text(decoded.get("id")) or "")[-_ID_CHARACTERS:]
    return f"call_{answer}_{slot}"


def stop_of(word: str) -> Stop:
    """What a finish reason means; one that is not known is no reason to think that anything went wrong."""
    return _STOPS.get(word.lower(), Stop.STOP)


def ending(choice: Mapping[str, Any], *, has_calls: bool = False) -> StopDelta | None:
    """The end of a choice, if it has one. Where a call was demanded, OpenAI calls the end that follows `stop`."""
    word = wire.text(choice.get("finish_reason"))
    if not word:
        return None
    stop, met = stop_of(word), choice.get("stop_reason")
    return StopDelta(
        stop=Stop.TOOL_CALLS if has_calls and stop is Stop.STOP else stop,
        native_stop=wire.text(choice.get("native_finish_reason")) or word,
        # vLLM's word for the sequence it met.
        stop_sequence=met if isinstance(met, str) and stop is Stop.STOP else None,
        choice=index_of(choice),
    )


def index_of(choice: Mapping[str, Any]) -> int:
    """Which of the answers a choice is part of."""
    return wire.count(choice.get("index")) or 0


def _logprobs(choice: Mapping[str, Any]) -> tuple[TokenLogprob, ...] | None:
    return openai_logprobs.read(wire.mapping(choice.get("logprobs")).get("content")) or None


class Meaning:
    """A stream of chunks on its way to neutral form: which tool calls have begun, and which answers have ended."""

    def __init__(self) -> None:
        self._calls: dict[int, list[tuple[object, str | None]]] = {}
        self._ended: set[int] = set()

    def deltas(self, chunk: Mapping[str, Any]) -> Iterator[Delta]:
        """What a chunk adds to the answer."""
        for choice in wire.objects(chunk.get("choices")):
            delta = wire.mapping(choice.get("delta"))
            number = index_of(choice)
            yield from _words(delta, number, _logprobs(choice))
            for call in calls_of(delta):
                yield self._call(call, number, chunk)
            ended = ending(choice, has_calls=number in self._calls)
            if ended is not None and number not in self._ended:
                self._ended.add(number)
                yield ended

    def _call(self, call: Mapping[str, Any], choice: int, chunk: Mapping[str, Any]) -> ToolCallDelta:
        begun = self._calls.setdefault(choice, [])
        index, identifier = wire.count(call.get("index")), wire.text(call.get("id")) or None
        slot = _slot(begun, index, identifier)
        begins = slot == len(begun)
        if begins:
            begun.append((index, identifier))
        function = wire.mapping(call.get("function"))
        return ToolCallDelta(
            slot=slot,
            id=(identifier or _made_id(chunk, slot)) if begins else None,
            name=wire.text(function.get("name")) or "" if begins else None,
            arguments=arguments_of(function),
            signature=reasoning_details.call_signature(call),
            choice=choice,
        )


def _slot(begun: list[tuple[object, str | None]], index: int | None, identifier: str | None) -> int:
    """Which call a piece belongs to; the next one, if it begins a new one.

    Some servers leave the index out, some give every call the same one, some repeat the id with every piece.
    """
    for slot in reversed(range(len(begun))):
        known_index, known_id = begun[slot]
        if index is not None and known_index != index:
            continue
        if identifier is None or identifier == known_id:
            return slot
    return len(begun)


def _words(delta: Mapping[str, Any], choice: int, logprobs: tuple[TokenLogprob, ...] | None) -> Iterator[Delta]:
    """What a delta says besides its tool calls; the likelihoods go with its first text."""
    for part in spoken(delta):
        match part:
            case Text(text=text):
                yield TextDelta(text, choice, logprobs)
                logprobs = None
            case Refusal(text=text):
                yield RefusalDelta(text, choice)
            case Reasoning():
                yield ReasoningDelta(part.text, part.signature, part.origin, part.redacted, choice)
    if logprobs is not None:
        yield TextDelta("", choice, logprobs)
