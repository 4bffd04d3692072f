"""Gemini's answers in neutral form, whole or chunk by chunk: a whole answer is a stream of one chunk.

Wire format: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
    Stop,
    StopDelta,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)

_STOPS: Mapping[str, Stop] = {
    "MAX_TOKENS": Stop.LENGTH,
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
         "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION"),
        Stop.CONTENT_FILTER,
    ),
    **dict.fromkeys(
        ("OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
         "MISSING_THOUGHT_SIGNATURE", "IMAGE_OTHER", "NO_IMAGE"),
        Stop.ERROR,
    ),
}  # fmt: skip
"""Reasons that are not simply that the model was done. In the last group it failed to make an answer of what it wrote.
Where nothing came of that, nobody pays for it; where something was written, it can be used, and the answer was one:
a caller could provoke such an end of every essay."""
_UNSPECIFIED = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})
_CHOICES_MAX = 128
_ID_CHARACTERS = 24
_LOGPROB_MAX = 10_000
"""OpenAI writes -9999.0 for what is all but impossible."""


def chunk(data: bytes) -> dict[str, Any] | None:
    """The object in a body or an event; `None` if there is none. Errors of streams come in an array of their own."""
    decoded = wire.decoded(data)
    if decoded is not None:
        return decoded
    try:
        [only] = msgspec.json.decode(wire.mended(data), type=tuple[dict[str, Any]])
    except wire.UNREADABLE:
        return None
    return only


def candidates_in(response: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The candidates, each with the number of the answer that it belongs to."""
    candidates = wire.objects(response.get("candidates"))[:_CHOICES_MAX]
    numbered = ((wire.count(candidate.get("index")), candidate) for candidate in candidates)
    return [
        (at if index is None or index >= _CHOICES_MAX else index, candidate)
        for at, (index, candidate) in enumerate(numbered)
    ]


def parts_of(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a candidate says."""
    return wire.objects(wire.mapping(candidate.get("content")).get("parts"))


def block_of(response: Mapping[str, Any]) -> str | None:
    """Why the prompt was refused, if it was: there are no candidates then."""
    reason = wire.text(wire.mapping(response.get("promptFeedback")).get("blockReason")) or ""
    return None if reason in _UNSPECIFIED or candidates_in(response) else reason


def reason_of(candidate: Mapping[str, Any]) -> str | None:
    """The provider's own word for why a candidate ended, if it has."""
    reason = wire.text(candidate.get("finishReason")) or ""
    return None if reason in _UNSPECIFIED else reason


def is_failure(reason: str) -> bool:
    """Whether a finish reason says that the model failed to make an answer of what it wrote."""
    return _STOPS.get(reason) is Stop.ERROR


def stop_of(reason: str, *, has_called: bool, has_written: bool) -> Stop:
    """What a finish reason means; one that is not known is no reason to think that anything went wrong."""
    stop = _STOPS.get(reason, Stop.STOP)
    if stop is Stop.ERROR and has_written:
        return Stop.STOP
    return Stop.TOOL_CALLS if has_called and stop is Stop.STOP else stop


def is_call(part: Mapping[str, Any]) -> bool:
    """Whether a part is a function call."""
    return isinstance(part.get("functionCall"), dict)


def says_something(part: Mapping[str, Any]) -> bool:
    """Whether there is anything in a part for a reader: words, thoughts, a call or a picture."""
    return is_call(part) or bool(wire.text(part.get("text")) or _picture(part))


def arguments_of(call: Mapping[str, Any]) -> str:
    """A function call's arguments as JSON text."""
    return msgspec.json.encode(wire.mapping(call.get("args"))).decode()


class Telling:
    """A stream under way: how many functions each answer has called so far, and which ones said anything."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._written: set[int] = set()

    def deltas(self, response: Mapping[str, Any]) -> Iterator[Delta]:
        """What a chunk adds to the answers."""
        blocked = block_of(response)
        if blocked is not None:
            yield StopDelta(Stop.CONTENT_FILTER, blocked)
        for choice, candidate in candidates_in(response):
            logprobs = _logprobs(candidate)
            parts = parts_of(candidate)
            if any(map(says_something, parts)):
                self._written.add(choice)
            for part in parts:
                for delta in self._part(part, choice, response):
                    if isinstance(delta, TextDelta) and logprobs:
                        yield replace(delta, logprobs=logprobs)
                        logprobs = None
                    else:
                        yield delta
            reason = reason_of(candidate)
            if reason is not None:
                stop = stop_of(reason, has_called=choice in self._calls, has_written=choice in self._written)
                yield StopDelta(stop, reason, choice=choice)

    def _part(self, part: Mapping[str, Any], choice: int, response: Mapping[str, Any]) -> Iterator[Delta]:
        signature = wire.text(part.get("thoughtSignature")) or None
        origin = None if signature is None else Wire.GENERATE_CONTENT.value
        if is_call(part):
            yield self._call(part["functionCall"], signature, choice, response)
            return
        text = wire.text(part.get("text")) or _picture(part)
        if part.get("thought") is True:
            if text or signature:
                yield ReasoningDelta(text, signature, origin, choice=choice)
            return
        if text:
            yield TextDelta(text, choice)
        if signature is not None:
            yield ReasoningDelta("", signature, origin, choice=choice)

    def _call(
        self, call: Mapping[str, Any], signature: str | None, choice: int, response: Mapping[str, Any]
    ) -> ToolCallDelta:
        """A function call, which comes whole, under an id that it may not have brought."""
        slot = self._calls.get(choice, 0)
        self._calls[choice] = slot + 1
        name, arguments = wire.text(call.get("name")) or "", arguments_of(call)
        made = f"{wire.text(response.get('responseId'))}/{choice}/{slot}/{name}/{arguments}"
        digest = hashlib.sha256(made.encode("utf-8", "replace")).hexdigest()
        given = wire.text(call.get("id"))
        return ToolCallDelta(slot, given or f"call_{digest[:_ID_CHARACTERS]}", name, arguments, signature, choice)


def _picture(part: Mapping[str, Any]) -> str:
    """A picture that the model drew, as Markdown shows one: text is all that an answer can carry."""
    data = wire.mapping(part.get("inlineData"))
    media_type, encoded = wire.text(data.get("mimeType")), wire.text(data.get("data"))
    return f"![](data:{media_type};base64,{encoded})" if media_type and encoded else ""


def _logprobs(candidate: Mapping[str, Any]) -> tuple[TokenLogprob, ...] | None:
    result = wire.mapping(candidate.get("logprobsResult"))
    alternatives = [_likely(each.get("candidates")) for each in wire.objects(result.get("topCandidates"))]
    chosen = _likely(result.get("chosenCandidates"))
    tops = alternatives if len(alternatives) == len(chosen) else [()] * len(chosen)
    return tuple(replace(token, top=top) for token, top in zip(chosen, tops, strict=True)) or None


def _likely(tokens: object) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(wire.text(token.get("token")) or "", float(logprob))
        for token in wire.objects(tokens)
        if isinstance(logprob := token.get("logProbability"), int | float) and abs(logprob) <= _LOGPROB_MAX
    )


def completion(body: bytes) -> Completion:
    """What a whole answer means."""
    response = chunk(body) or {}
    deltas = list(Telling().deltas(response))
    numbers = sorted({delta.choice for delta in deltas} | {choice for choice, _ in candidates_in(response)})
    return Completion(tuple(_choice([delta for delta in deltas if delta.choice == number]) for number in numbers))


def _choice(deltas: list[Delta]) -> Choice:
    parts: list[Text | Reasoning | ToolCall] = []
    logprobs: tuple[TokenLogprob, ...] = ()
    end: StopDelta | None = None
    for delta in deltas:
        match delta:
            case TextDelta():
                logprobs += delta.logprobs or ()
                _append(parts, Text(delta.text))
            case ReasoningDelta():
                _append(parts, Reasoning(delta.text, delta.signature, delta.origin))
            case ToolCallDelta():
                parts.append(ToolCall(delta.id or "", delta.name or "", delta.arguments, delta.signature))
            case StopDelta():
                end = delta
            case _:
                """Refusals have no form of their own here."""
    return Choice(
        parts=tuple(parts),
        stop=None if end is None else end.stop,
        native_stop=None if end is None else end.native_stop,
        logprobs=logprobs or None,
    )


def _append(parts: list[Text | Reasoning | ToolCall], piece: Text | Reasoning) -> None:
    """Join what belongs together: words, and thoughts up to the signature that closes them."""
    match parts[-1] if parts else None, piece:
        case (Text(text=before), Text()) | (Reasoning(text=before, signature=None), Reasoning()):
            parts[-1] = replace(piece, text=before + piece.text)
        case _:
            parts.append(piece)
