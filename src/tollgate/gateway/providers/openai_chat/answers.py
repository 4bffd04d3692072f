"""Chat completions as providers answer them: bytes to an `Answer`, with usage in disjoint quantities.

Wire format: https://platform.openai.com/docs/api-reference/chat/object
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tollgate.gateway import partition, wire
from tollgate.gateway.model import Answer, UsageReading
from tollgate.gateway.neutral import Delta
from tollgate.gateway.providers.openai_chat import meaning
from tollgate.kit.tokens import Kind, UsageQuantities

_KNOWN_USAGE = frozenset({
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details",
})  # fmt: skip
_KNOWN_PROMPT_DETAILS = frozenset(
    {"cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "text_tokens"}
)
_KNOWN_COMPLETION_DETAILS = frozenset({
    "reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens",
    "accepted_prediction_tokens", "rejected_prediction_tokens",
})  # fmt: skip
_DONE = b"[DONE]"
_TELLING = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[{"])')
"""What makes an event worth decoding. It cannot occur inside a JSON string, where quotes are escaped."""


def read_answer(body: bytes) -> Answer | None:
    """What a whole answer says; `None` if it is no chat completion at all."""
    decoded = wire.decoded(body)
    if decoded is None or not (isinstance(decoded.get("choices"), list) or decoded.get("error")):
        return None
    return _answer(decoded, whole=True)


class ChatReader:
    """A stream of chat completion chunks, read for what it says about itself."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._begun = False

    def look(self, data: bytes) -> bool:
        """Take note of usage, a finish reason or an error; all other chunks but the first go undecoded."""
        if self.is_last(data) or (self._begun and _TELLING.search(data) is None):
            return True
        said = _read_event(data)
        if said is None:
            return False
        self._begun = True
        known = self.answer
        self.answer = replace(
            known,
            # The last usage seen, never the sum: providers that send several send running totals.
            usage=said.usage or known.usage,
            finish_reason=said.finish_reason or known.finish_reason,
            native_finish_reason=said.native_finish_reason or known.native_finish_reason,
            upstream_id=said.upstream_id or known.upstream_id,
            service_tier=said.service_tier or known.service_tier,
            error=said.error,
        )
        return True

    def is_last(self, data: bytes) -> bool:
        """Whether this is `[DONE]`."""
        return data == _DONE

    def deltas(self, data: bytes) -> Iterable[Delta]:
        """What a chunk adds to the answer."""
        decoded = wire.decoded(data)
        return () if decoded is None else meaning.deltas(decoded)


def reader() -> ChatReader:
    """A stream about to begin."""
    return ChatReader()


def _read_event(data: bytes) -> Answer | None:
    """What one event's data says; `None` if it is not JSON."""
    decoded = wire.decoded(data)
    return None if decoded is None else _answer(decoded, whole=False)


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(answer.text for data in events if (answer := _read_event(data)) is not None)


def _answer(decoded: dict[str, Any], *, whole: bool) -> Answer:
    usage, error = decoded.get("usage"), decoded.get("error")
    choices = [choice for choice in wire.items(decoded.get("choices")) if isinstance(choice, dict)]
    reasons = [reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str)]
    spoken = [wire.mapping(choice.get("message" if whole else "delta")) for choice in choices]
    return Answer(
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        finish_reason=reasons[0] if reasons else None,
        native_finish_reason=reasons[0] if reasons else None,
        upstream_id=wire.text(decoded.get("id")),
        service_tier=wire.text(decoded.get("service_tier")),
        error=None if error is None else wire.error_message(decoded),
        text="".join(_written(message) for message in spoken),
    )


def read_error(body: bytes) -> str | None:
    """The provider's own words in an error body, if it has any we can show."""
    decoded = wire.decoded(body)
    return wire.error_message(decoded) if decoded is not None and "error" in decoded else None


def _written(message: Mapping[str, Any]) -> str:
    parts = [message.get("content"), message.get("refusal"), message.get("reasoning_content"), message.get("reasoning")]
    for call in wire.items(message.get("tool_calls")):
        function = wire.mapping(wire.mapping(call).get("function"))
        parts += [function.get("name"), function.get("arguments")]
    return "".join(part for part in parts if isinstance(part, str))


def read_usage(usage: Mapping[str, Any]) -> UsageReading | None:
    """The usage object in disjoint quantities (billing-rules §1); `None` if it has neither total.

    Details that exceed their total leave nothing to subtract from: the reading is anomalous, and the provider's total
    is billed, not more. So is one of which a total is missing: that half is unknown, not zero.
    """
    prompt_total, completion_total = wire.count(usage.get("prompt_tokens")), wire.count(usage.get("completion_tokens"))
    if prompt_total is None and completion_total is None:
        return None
    prompt = wire.mapping(usage.get("prompt_tokens_details"))
    completion = wire.mapping(usage.get("completion_tokens_details"))
    read, prompt_anomalous = partition.parted(
        prompt_total,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: wire.count(prompt.get("cached_tokens")),
            Kind.INPUT_CACHE_WRITE: wire.count(prompt.get("cache_write_tokens")),
            Kind.INPUT_AUDIO: wire.count(prompt.get("audio_tokens")),
            Kind.INPUT_IMAGE: wire.count(prompt.get("image_tokens")),
        },
    )
    written, completion_anomalous = partition.parted(
        completion_total,
        Kind.COMPLETION,
        {
            Kind.INTERNAL_REASONING: wire.count(completion.get("reasoning_tokens")),
            Kind.OUTPUT_AUDIO: wire.count(completion.get("audio_tokens")),
            Kind.OUTPUT_IMAGE: wire.count(completion.get("image_tokens")),
        },
    )
    return UsageReading(
        quantities=UsageQuantities({**read, **written}),
        raw=usage,
        prompt_known=prompt_total is not None,
        completion_known=completion_total is not None,
        anomalous=prompt_anomalous or completion_anomalous,
        unknown=wire.unknown_counts(
            (usage, _KNOWN_USAGE), (prompt, _KNOWN_PROMPT_DETAILS), (completion, _KNOWN_COMPLETION_DETAILS)
        ),
    )
