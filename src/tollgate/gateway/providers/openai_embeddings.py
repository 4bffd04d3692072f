"""Embeddings as providers answer them: the request to send, and an answer's bytes to an `Answer`.

Wire format: https://platform.openai.com/docs/api-reference/embeddings
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tollgate.gateway import partition, wire
from tollgate.gateway.model import Access, Answer, Candidate, Request, UpstreamRequest, UsageReading, Wire
from tollgate.gateway.providers import openai_address
from tollgate.gateway.wire import read_error
from tollgate.kit.tokens import Kind, UsageQuantities

WIRE = Wire.EMBEDDINGS

__all__ = ["WIRE", "passed_request", "read_answer", "read_error", "read_usage"]

_KNOWN_USAGE = frozenset({"prompt_tokens", "total_tokens", "prompt_tokens_details"})
_KNOWN_DETAILS = frozenset({"cached_tokens", "audio_tokens", "image_tokens", "text_tokens"})
_NONE = msgspec.Raw(b"null")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def passed_request(
    request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model. It has no output."""
    del output_cap
    return UpstreamRequest(
        url=openai_address.url(candidate.provider, access, "/embeddings"),
        headers=openai_address.headers(candidate.provider, access),
        body=msgspec.json.encode({**request.fields, "model": wire.raw(candidate.endpoint.upstream_model)}),
        stream=False,
    )


def read_answer(body: bytes) -> Answer | None:
    """What an answer says about itself; `None` if there are no embeddings in it, and no error.

    The embeddings themselves stay encoded: there can be millions of numbers.
    """
    try:
        fields = _FIELDS.decode(wire.mended(body))
    except wire.UNREADABLE:
        return None
    error, usage = _value(fields, "error"), _value(fields, "usage")
    if not error and not _is_filled(fields.get("data", _NONE)):
        return None
    return Answer(
        usage=read_usage(usage) if isinstance(usage, dict) else None,
        upstream_id=wire.text(_value(fields, "id")),
        service_tier=wire.text(_value(fields, "service_tier")),
        error=wire.error_message({"error": error}) if error else None,
    )


def read_usage(usage: Mapping[str, Any]) -> UsageReading | None:
    """The usage object in disjoint quantities; `None` if it has no total.

    All that was used was read: where only `total_tokens` is told, it is the prompt. A total beside it that differs is
    an anomaly, and `prompt_tokens` is billed.
    """
    told, total = wire.count(usage.get("prompt_tokens")), wire.count(usage.get("total_tokens"))
    prompt = total if told is None else told
    if prompt is None:
        return None
    details = wire.mapping(usage.get("prompt_tokens_details"))
    read, anomalous = partition.parted(
        prompt,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: wire.count(details.get("cached_tokens")),
            Kind.INPUT_AUDIO: wire.count(details.get("audio_tokens")),
            Kind.INPUT_IMAGE: wire.count(details.get("image_tokens")),
        },
    )
    return UsageReading(
        quantities=UsageQuantities(read),
        raw=usage,
        anomalous=anomalous or total not in {None, prompt},
        unknown=wire.unknown_counts((usage, _KNOWN_USAGE), (details, _KNOWN_DETAILS)),
    )


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> object:
    """A field decoded; `None` where it is missing or unreadable."""
    try:
        return msgspec.json.decode(fields.get(name, _NONE))
    except wire.UNREADABLE:
        return None


def _is_filled(value: msgspec.Raw) -> bool:
    """Whether this is an array with something in it."""
    encoded = bytes(value)
    return encoded.startswith(b"[") and bool(encoded[1:-1].strip())
