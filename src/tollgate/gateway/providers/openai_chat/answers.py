"""Chat completions as providers answer them: bytes to an `Answer`, with usage in disjoint quantities.

Wire format: https://platform.openai.com/docs/api-reference/chat/object
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from tollgate.gateway import partition, streams, wire
from tollgate.gateway.model import Answer, UsageReading
from tollgate.gateway.neutral import Delta, Stop, StopDelta
from tollgate.gateway.providers.openai_chat import meaning, usual
from tollgate.kit.tokens import Kind, UsageQuantities

_DETAILS = ("prompt_tokens_details", "prompt_token_details")
"""OpenAI's name, and Mistral's."""
_CACHE_READ = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
"""Beside the totals: DeepSeek; Moonshot and Together; Mistral; servers in front of Anthropic."""
_CACHE_WRITE = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
"""Among the details: OpenRouter; servers in front of Anthropic; Alibaba."""
_REASONING = ("reasoning_tokens",)
_SEARCHES = ("server_tool_use_details", "server_tool_use")
"""Where OpenRouter counts searches."""
_KNOWN_USAGE = frozenset({
    "prompt_tokens", "completion_tokens", "total_tokens", *_DETAILS, "completion_tokens_details", "reasoning_tokens",
    *_CACHE_READ, "prompt_cache_miss_tokens", "cache_creation_input_tokens", "prompt_audio_seconds", *_SEARCHES,
    "citation_tokens", "num_search_queries",
    # Not tokens: Groq's seconds, and what OpenRouter and xAI charge us.
    "queue_time", "prompt_time", "completion_time", "total_time", "cost", "cost_in_usd_ticks",
})  # fmt: skip
_KNOWN_PROMPT_DETAILS = frozenset({
    "cached_tokens", *_CACHE_WRITE, "audio_tokens", "image_tokens", "text_tokens", "video_tokens",
})  # fmt: skip
_KNOWN_COMPLETION_DETAILS = frozenset({
    "reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens",
    "accepted_prediction_tokens", "rejected_prediction_tokens",
})  # fmt: skip
_CHOICES_MAX = 128
_DONE = b"[DONE]"
_TELLING = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[{"])')
"""What makes an event worth decoding. It cannot occur inside a JSON string, where quotes are escaped."""


def read_answer(body: bytes) -> Answer | None:
    """What a whole answer says; `None` if it is no chat completion at all."""
    decoded = wire.decoded(body)
    if decoded is None or not (isinstance(decoded.get("choices"), list) or decoded.get("error")):
        return None
    return usual.answer(decoded) or read_fields(decoded)


def read_fields(decoded: Mapping[str, Any]) -> Answer:
    """What any whole answer says, usual or not, read field by field."""
    choices = wire.objects(decoded.get("choices"))
    usage, error = _told(decoded, choices)
    finish, native = _ending(_ends(choices))
    return Answer(
        usage=None if usage is None else read_usage(usage),
        finish_reason=finish,
        native_finish_reason=native,
        upstream_id=wire.text(decoded.get("id")),
        service_tier=wire.text(decoded.get("service_tier")),
        error=error,
        text=_text(decoded, "message"),
    )


class ChatReader:
    """A stream of chat completion chunks, read for what it says about itself."""

    find_telling = staticmethod(partial(streams.find_first, _TELLING, _DONE))
    """Where there is usage, a finish reason, an error or the end."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._begun = False
        self._ends: dict[int, StopDelta] = {}
        self._meaning: meaning.Meaning | None = None

    def look(self, data: bytes) -> bool:
        """Take note of usage, a finish reason or an error; all other chunks but the first go undecoded."""
        if self.is_last(data) or (self._begun and _TELLING.search(data) is None):
            return True
        chunk = usual.chunk(data)
        if chunk is None:
            return self.look_closely(data)
        finish = chunk.finish_reason
        ends = [] if finish is None else [StopDelta(meaning.stop_of(finish), finish)]
        self._note(ends, chunk.usage, None, upstream_id=chunk.id, service_tier=chunk.service_tier)
        return True

    def look_closely(self, data: bytes) -> bool:
        """The same of any chunk, usual or not, read field by field."""
        decoded = wire.decoded(data)
        if decoded is None or not (self._begun or _is_chunk(decoded)):
            return False
        choices = wire.objects(decoded.get("choices"))
        usage, error = _told(decoded, choices)
        upstream_id, tier = wire.text(decoded.get("id")), wire.text(decoded.get("service_tier"))
        self._note(_ends(choices), usage, error, upstream_id=upstream_id, service_tier=tier)
        return True

    def _note(
        self, ends: Sequence[StopDelta], usage: Mapping[str, Any] | None, error: str | None,
        *, upstream_id: str | None, service_tier: str | None,
    ) -> None:  # fmt: skip
        self._begun = True
        known = self.answer
        finish, native = known.finish_reason, known.native_finish_reason
        if ends:
            self._ends.update((end.choice, end) for end in ends)
            finish, native = _ending([end for _, end in sorted(self._ends.items())])
        read = None if usage is None else usual.usage(usage) or read_usage(usage)
        self.answer = Answer(
            # The last usage seen, never the sum: providers that send several send running totals.
            usage=read or known.usage,
            finish_reason=finish,
            native_finish_reason=native,
            upstream_id=upstream_id or known.upstream_id,
            service_tier=service_tier or known.service_tier,
            error=error,
        )

    def is_last(self, data: bytes) -> bool:
        """Whether this is `[DONE]`."""
        return data == _DONE

    def deltas(self, data: bytes) -> Iterable[Delta]:
        """What a chunk adds to the answer."""
        self._meaning = self._meaning or meaning.Meaning()
        decoded = wire.decoded(data)
        return () if decoded is None else self._meaning.deltas(decoded)


def reader() -> ChatReader:
    """A stream about to begin."""
    return ChatReader()


def _is_chunk(decoded: Mapping[str, Any]) -> bool:
    """Whether a stream can begin with this; some begin with a chunk that has nothing but the prompt's usage in it."""
    return isinstance(decoded.get("choices"), list) or bool(decoded.get("usage") or decoded.get("error"))


class _Words(msgspec.Struct, forbid_unknown_fields=True):
    """A delta with nothing but words in it."""

    role: str | None = None
    content: str | None = None
    refusal: None = None


class _WordsOfChoice(msgspec.Struct):
    delta: _Words


class _WordsOfChoices(msgspec.Struct):
    choices: list[_WordsOfChoice]


_WORDS = msgspec.json.Decoder(_WordsOfChoices)


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(map(_written_in, events))


def _written_in(data: bytes) -> str:
    try:
        # Streams consist of words, mostly, and are read on and on while they last: this takes a tenth of the time.
        return "".join([choice.delta.content or "" for choice in _WORDS.decode(data).choices])
    except wire.UNREADABLE:
        decoded = wire.decoded(data)
        return "" if decoded is None else _text(decoded, "delta")


def _told(decoded: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    """The usage object, and what went wrong.

    They stand beside the choices; at Groq also in an object of its own; at Moonshot and OpenRouter also in a choice.
    """
    usage, error = decoded.get("usage"), decoded.get("error")
    if not isinstance(usage, dict) or not error:
        for place in (wire.mapping(decoded.get("x_groq")), *choices):
            if not isinstance(usage, dict):
                usage = place.get("usage")
            error = error or place.get("error")
    return usage if isinstance(usage, dict) else None, wire.error_message({"error": error}) if error else None


def _text(decoded: Mapping[str, Any], part: str) -> str:
    """What was written in this part of each choice."""
    return "".join([_written(wire.mapping(choice.get(part))) for choice in wire.objects(decoded.get("choices"))])


def _ends(choices: Sequence[Mapping[str, Any]]) -> list[StopDelta]:
    ends = [end for choice in choices[:_CHOICES_MAX] if (end := meaning.ending(choice)) is not None]
    return [end for end in ends if end.choice < _CHOICES_MAX]


def _ending(ends: Sequence[StopDelta]) -> tuple[str | None, str | None]:
    """How the answer ended, and the provider's word for it: as its first choice that did not fail, unless all did."""
    for end in ends:
        if end.stop is not Stop.ERROR:
            return end.stop.value, end.native_stop
    return (ends[0].stop.value, ends[0].native_stop) if ends else (None, None)


def _written(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str) and not any(map(message.get, meaning.SAID_BESIDE_CONTENT)):
        return content
    said = meaning.spoken(message)
    parts = [part.text for part in said]
    for call in meaning.calls_of(message):
        function = wire.mapping(call.get("function"))
        parts += [wire.text(function.get("name")) or "", meaning.arguments_of(function)]
    return "".join(parts)


def read_usage(usage: Mapping[str, Any]) -> UsageReading | None:
    """The usage object in disjoint quantities (billing-rules §1); `None` if it has neither total.

    Details that exceed their total leave nothing to subtract from: the reading is anomalous, and the provider's total
    is billed, not more. So is one of which a total is missing: that half is unknown, not zero; and one whose totals do
    not add up, which are billed as they are.
    """
    prompt_total, completion_total = wire.count(usage.get("prompt_tokens")), wire.count(usage.get("completion_tokens"))
    if prompt_total is None and completion_total is None:
        return None
    prompt = wire.mapping(usage.get(_DETAILS[0])) or wire.mapping(usage.get(_DETAILS[1]))
    completion = wire.mapping(usage.get("completion_tokens_details"))
    reasoning = _larger(_most(completion, _REASONING), _most(usage, _REASONING))
    inside = _reasoning_inside(usage, reasoning)
    read, prompt_anomalous = _prompt_parts(usage, prompt, prompt_total)
    written, completion_anomalous = partition.parted(
        completion_total if inside is not False or completion_total is None else completion_total + (reasoning or 0),
        Kind.COMPLETION,
        {
            Kind.INTERNAL_REASONING: reasoning,
            Kind.OUTPUT_AUDIO: wire.count(completion.get("audio_tokens")),
            Kind.OUTPUT_IMAGE: wire.count(completion.get("image_tokens")),
        },
    )
    return UsageReading(
        quantities=UsageQuantities({**read, **written, **_besides(usage)}),
        raw=usage,
        prompt_known=prompt_total is not None,
        completion_known=completion_total is not None,
        anomalous=prompt_anomalous or completion_anomalous or inside is None,
        unknown=wire.unknown_counts(
            (usage, _KNOWN_USAGE), (prompt, _KNOWN_PROMPT_DETAILS), (completion, _KNOWN_COMPLETION_DETAILS)
        ),
    )


def _most(fields: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """The largest of these counts, which all tell the same, or nothing."""
    most = None
    for name in names:
        count = wire.count(fields[name]) if name in fields else None
        if count is not None and (most is None or count > most):
            most = count
    return most


def _larger(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _reasoning_inside(usage: Mapping[str, Any], reasoning: int | None) -> bool | None:
    """Whether reasoning is among the completion tokens; `None` if the totals do not add up either way.

    It is with OpenAI. With xAI it comes on top, as its total tells: https://docs.x.ai/docs/guides/reasoning. With
    Perplexity it comes on top, and in no total: https://docs.perplexity.ai/guides/pricing.
    """
    if wire.count(usage.get("citation_tokens")) is not None:
        return False
    total = wire.count(usage.get("total_tokens"))
    read, written = wire.count(usage.get("prompt_tokens")), wire.count(usage.get("completion_tokens"))
    if total is None or read is None or written is None or total == read + written:
        return True
    return False if total == read + written + (reasoning or 0) else None


def _prompt_parts(
    usage: Mapping[str, Any], details: Mapping[str, Any], total: int | None
) -> tuple[dict[Kind, int], bool]:
    """The parts of what was read. What Perplexity read of the pages it cites is in none of its totals."""
    cited = wire.count(usage.get("citation_tokens")) or 0
    return partition.parted(
        None if total is None else total + cited,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: _larger(_most(details, ("cached_tokens",)), _most(usage, _CACHE_READ)),
            Kind.INPUT_CACHE_WRITE: _larger(
                _most(details, _CACHE_WRITE), _most(usage, ("cache_creation_input_tokens",))
            ),
            Kind.INPUT_AUDIO: wire.count(details.get("audio_tokens")),
            Kind.INPUT_IMAGE: wire.count(details.get("image_tokens")),
        },
    )


def _besides(usage: Mapping[str, Any]) -> dict[Kind, int]:
    """What is counted beside tokens: searches, and Mistral's seconds of audio."""
    searches = _most(usage, ("num_search_queries",))
    for name in _SEARCHES:
        searches = _larger(searches, _most(wire.mapping(usage.get(name)), ("web_search_requests",)))
    counts = {Kind.WEB_SEARCH: searches, Kind.AUDIO_SECONDS: wire.count(usage.get("prompt_audio_seconds"))}
    return {kind: count for kind, count in counts.items() if count}
