"""OpenAI's wire format, as providers speak it: OpenAI itself, Azure OpenAI, and the many servers compatible with it.

A `ChatRequest` becomes an `UpstreamRequest`; an answer's bytes become an `Answer` with usage in disjoint quantities.
Wire format: https://platform.openai.com/docs/api-reference/chat/object
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tollgate.catalog.model import Format, Provider
from tollgate.gateway import bounds
from tollgate.gateway.model import Access, Answer, Candidate, ChatRequest, UpstreamRequest, UsageReading
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

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")

_COUNT_MAX = 10**12
"""No call uses more of anything: a larger count is no count."""

_TELLING = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[{"])')
"""What makes an event worth decoding. It cannot occur inside a JSON string, where quotes are escaped."""

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escaped backslashes and whole surrogate pairs, to be skipped, and halves of such pairs."""


def request(chat: ChatRequest, candidate: Candidate, *, access: Access, output_cap: int | None) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model.

    Usage is asked for always, and output bounded by one field alone, by as much as the hold carries.
    """
    fields = {name: value for name, value in chat.fields.items() if name not in _OUTPUT_LIMITS}
    fields |= {"model": _raw(candidate.endpoint.upstream_model), **_output_limit(chat, candidate, output_cap)}
    if chat.stream:
        options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, msgspec.Raw] | None) or {}
        fields["stream_options"] = _raw({**options, "include_usage": True})
    return UpstreamRequest(
        url=_url(candidate.provider, access, "/chat/completions"),
        headers={**_authorization(candidate.provider, access), "content-type": "application/json"},
        body=msgspec.json.encode(fields),
        stream=chat.stream,
    )


def _url(provider: Provider, access: Access, operation: str) -> str:
    """Azure serves the same interface below its resource's own address: https://learn.microsoft.com/azure/ai-foundry."""
    prefix = "/openai/v1" if provider.format is Format.AZURE_OPENAI else ""
    return access.base_url + prefix + operation


def _authorization(provider: Provider, access: Access) -> dict[str, str]:
    if access.credential is None:
        return {}
    if provider.format is Format.AZURE_OPENAI:
        return {"api-key": access.credential}
    return {"authorization": f"Bearer {access.credential}"}


def _output_limit(chat: ChatRequest, candidate: Candidate, output_cap: int | None) -> Mapping[str, msgspec.Raw]:
    """The one field that bounds the output: the client's own as it came where that will do, else the endpoint's."""
    limit = bounds.asked_output(chat, candidate.endpoint, output_cap)
    if limit is None:
        return {}
    supported = [name for name in _OUTPUT_LIMITS if name in candidate.endpoint.supported_parameters]
    given = [name for name in _OUTPUT_LIMITS if bytes(chat.fields.get(name, b"null")) != b"null"]
    if limit == chat.max_tokens and len(given) == 1 and (given[0] in supported or not supported):
        return {given[0]: chat.fields[given[0]]}
    if not supported:
        # Servers that imitate OpenAI all know the older name, and some ignore the newer; OpenAI's newest models
        # refuse the older.
        supported = ["max_tokens" if candidate.provider.format is Format.OPENAI_COMPATIBLE else "max_completion_tokens"]
    return {supported[0]: _raw(limit)}


def read_answer(body: bytes) -> Answer | None:
    """What a whole answer says; `None` if it is no chat completion at all."""
    decoded = _decoded(body)
    if decoded is None or not (isinstance(decoded.get("choices"), list) or decoded.get("error")):
        return None
    return _answer(decoded, whole=True)


def read_event(data: bytes) -> Answer | None:
    """What one event's data says; `None` if it is not JSON. See `is_telling` for the events worth reading."""
    decoded = _decoded(data)
    return None if decoded is None else _answer(decoded, whole=False)


def is_telling(data: bytes) -> bool:
    """Whether an event carries usage, a finish reason or an error."""
    return _TELLING.search(data) is not None


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(answer.text for data in events if (answer := read_event(data)) is not None)


def mended(data: bytes) -> bytes:
    """The JSON without escaped halves of surrogate pairs: legal JSON that no UTF-8 can express, and no reader here."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPES.sub(lambda match: rb"\ufffd" if match.lastgroup == "half" else match[0], data)


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(mended(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _answer(decoded: dict[str, Any], *, whole: bool) -> Answer:
    usage, error = decoded.get("usage"), decoded.get("error")
    choices = [choice for choice in _list(decoded.get("choices")) if isinstance(choice, dict)]
    reasons = [reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str)]
    spoken = [_mapping(choice.get("message" if whole else "delta")) for choice in choices]
    return Answer(
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        finish_reason=reasons[0] if reasons else None,
        upstream_id=_text(decoded.get("id")),
        service_tier=_text(decoded.get("service_tier")),
        error=None if error is None else error_message(decoded),
        text="".join(_written(message) for message in spoken),
    )


def error_message(decoded: Mapping[str, Any]) -> str:
    """The provider's own words about an error, wherever it put them."""
    error = decoded.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    return words if isinstance(words, str) and words else "The provider gave no reason."


def read_error(body: bytes) -> str | None:
    """The provider's own words in an error body, if it has any we can show."""
    decoded = _decoded(body)
    return error_message(decoded) if decoded is not None and "error" in decoded else None


def _written(message: Mapping[str, Any]) -> str:
    parts = [message.get("content"), message.get("refusal"), message.get("reasoning_content"), message.get("reasoning")]
    for call in _list(message.get("tool_calls")):
        function = _mapping(_mapping(call).get("function"))
        parts += [function.get("name"), function.get("arguments")]
    return "".join(part for part in parts if isinstance(part, str))


def read_usage(usage: Mapping[str, Any]) -> UsageReading | None:
    """The usage object in disjoint quantities (billing-rules §1); `None` if it has neither total.

    Details that exceed their total leave nothing to subtract from: the reading is anomalous, and the provider's total
    is billed, not more. So is one of which a total is missing: that half is unknown, not zero.
    """
    prompt_total, completion_total = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt_total is None and completion_total is None:
        return None
    prompt, completion = _mapping(usage.get("prompt_tokens_details")), _mapping(usage.get("completion_tokens_details"))
    read, prompt_anomalous = _parted(
        prompt_total,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: _count(prompt.get("cached_tokens")),
            Kind.INPUT_CACHE_WRITE: _count(prompt.get("cache_write_tokens")),
            Kind.INPUT_AUDIO: _count(prompt.get("audio_tokens")),
            Kind.INPUT_IMAGE: _count(prompt.get("image_tokens")),
        },
    )
    written, completion_anomalous = _parted(
        completion_total,
        Kind.COMPLETION,
        {
            Kind.INTERNAL_REASONING: _count(completion.get("reasoning_tokens")),
            Kind.OUTPUT_AUDIO: _count(completion.get("audio_tokens")),
            Kind.OUTPUT_IMAGE: _count(completion.get("image_tokens")),
        },
    )
    return UsageReading(
        quantities=UsageQuantities({**read, **written}),
        raw=usage,
        prompt_known=prompt_total is not None,
        completion_known=completion_total is not None,
        anomalous=prompt_anomalous or completion_anomalous,
        unknown=_unknown_counts(usage, prompt, completion),
    )


def _parted(total: int | None, base: Kind, details: Mapping[Kind, int | None]) -> tuple[dict[Kind, int], bool]:
    if total is None:
        return {}, True
    parts = {kind: count for kind, count in details.items() if count}
    rest = total - sum(parts.values())
    if rest < 0:
        return {base: total}, True
    return {base: rest, **parts}, False


def _unknown_counts(
    usage: Mapping[str, Any], prompt: Mapping[str, Any], completion: Mapping[str, Any]
) -> tuple[str, ...]:
    fields = (
        *((name, usage[name]) for name in usage if name not in _KNOWN_USAGE),
        *((name, prompt[name]) for name in prompt if name not in _KNOWN_PROMPT_DETAILS),
        *((name, completion[name]) for name in completion if name not in _KNOWN_COMPLETION_DETAILS),
    )
    return tuple(name for name, value in fields if _count(value))


def _count(value: object) -> int | None:
    """A count, or `None` where there is none: a missing count is not zero. Some servers write 1000.0 for 1000."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
