"""Usual chat completions: one choice of words alone, and usage that adds up. Most are, and are read in one go.

So are most of those chunks of a stream that tell something.

What is unusual in any way is not read here but by `answers`, which says the same of what is usual, in several times as
long. Pure.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Answer, UsageReading
from tollgate.kit.tokens import Kind, UsageQuantities

_Count = Annotated[int, msgspec.Meta(ge=0, le=wire.COUNT_MAX)]
_Empty = Annotated[list[object], msgspec.Meta(max_length=0)] | None


class _PromptDetails(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: _Count | None = None
    text_tokens: _Count | None = None
    audio_tokens: Literal[0] | None = None
    image_tokens: Literal[0] | None = None


class _CompletionDetails(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: _Count | None = None
    text_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None
    audio_tokens: Literal[0] | None = None
    image_tokens: Literal[0] | None = None


class _Usage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Message(msgspec.Struct, gc=False):
    content: str
    refusal: Literal[""] | None = None
    reasoning: Literal[""] | None = None
    reasoning_content: Literal[""] | None = None
    reasoning_details: _Empty = None
    tool_calls: _Empty = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop", "length"]
    """In OpenAI's words, which here are the provider's own."""
    native_finish_reason: None = None
    index: Literal[0] = 0
    error: None = None


class _Completion(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage
    id: str | None = None
    service_tier: str | None = None
    error: None = None
    x_groq: None = None


class _End(msgspec.Struct, gc=False):
    finish_reason: Literal["stop", "length"] | None = None
    native_finish_reason: None = None
    index: Literal[0] = 0
    error: None = None
    usage: None = None


class Chunk(msgspec.Struct, gc=False):
    """What a chunk of a stream may tell besides words."""

    choices: Annotated[list[_End], msgspec.Meta(max_length=1)]
    usage: dict[str, Any] | None = None
    id: str | None = None
    service_tier: str | None = None
    error: None = None
    x_groq: None = None

    @property
    def finish_reason(self) -> str | None:
        """In OpenAI's words, which here are the provider's own."""
        return self.choices[0].finish_reason if self.choices else None


_CHUNKS = msgspec.json.Decoder(Chunk)


def chunk(data: bytes) -> Chunk | None:
    """What the chunk tells; `None` if it is not a usual one."""
    try:
        # As text, for in bytes the decoder looks only at what it reads, and half a character may stand in the rest.
        return _CHUNKS.decode(data.decode())
    except wire.UNREADABLE:
        return None


def answer(decoded: Mapping[str, Any]) -> Answer | None:
    """What the answer says; `None` if it is not a usual one."""
    try:
        said = msgspec.convert(decoded, _Completion)
    except msgspec.ValidationError:
        return None
    quantities = _quantities(said.usage)
    if quantities is None:
        return None
    choice = said.choices[0]
    return Answer(
        usage=UsageReading(quantities, decoded["usage"]),
        finish_reason=choice.finish_reason,
        native_finish_reason=choice.finish_reason,
        upstream_id=said.id,
        service_tier=said.service_tier,
        text=choice.message.content,
    )


def usage(told: Mapping[str, Any]) -> UsageReading | None:
    """What such usage says was used; `None` if it is not usual."""
    try:
        quantities = _quantities(msgspec.convert(told, _Usage))
    except msgspec.ValidationError:
        return None
    return None if quantities is None else UsageReading(quantities, told)


def _quantities(usage: _Usage) -> UsageQuantities | None:
    """The disjoint quantities (billing-rules §1); `None` where figures contradict each other."""
    read, written = usage.prompt_tokens, usage.completion_tokens
    if usage.total_tokens is not None and usage.total_tokens != read + written:
        return None
    of_prompt, of_completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = 0 if of_prompt is None else of_prompt.cached_tokens or 0
    thought = 0 if of_completion is None else of_completion.reasoning_tokens or 0
    if cached > read or thought > written:
        return None
    counts = {Kind.PROMPT: read - cached, Kind.COMPLETION: written - thought}
    if cached:
        counts[Kind.INPUT_CACHE_READ] = cached
    if thought:
        counts[Kind.INTERNAL_REASONING] = thought
    return UsageQuantities(counts)
