"""Thoughts and signatures as chat completions carry them, at clients and providers alike.

OpenAI's own format has no place for them. Thoughts stand in OpenRouter's `reasoning_details`, and the proof that comes
with a call in Gemini's `extra_content`: https://openrouter.ai/docs/use-cases/reasoning-tokens,
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Reasoning, ReasoningDelta

_FORMATS: Mapping[str, str] = {
    Wire.MESSAGES: "anthropic-claude-v1",
    Wire.GENERATE_CONTENT: "google-gemini-v1",
    Wire.RESPONSES: "openai-responses-v1",
}
"""What the wire format that a signature comes from is called."""
_ORIGINS = {name: Wire(origin).value for origin, name in _FORMATS.items()}
_UNKNOWN = "unknown"
_CHAT = Wire.CHAT.value
_TAGGED = re.compile(r"(?P<format>[a-z0-9-]{1,40}-v\d{1,3}):(?P<signature>.*)", re.DOTALL)
"""A signature that came in this form from a provider of chat completions, with the format that it named."""


def said_by_client(details: object) -> list[Reasoning]:
    """The thoughts that a client gives back, each with the wire format that its signature came from."""
    return [_with_origin(thought, name) for thought, name in _read(details)]


def said_by_provider(details: object) -> list[Reasoning]:
    """The thoughts of a provider of chat completions: their signatures are its own, whatever format they name."""
    return [thought if thought.signature is None else _own(thought, name) for thought, name in _read(details)]


def _read(details: object) -> Iterator[tuple[Reasoning, str]]:
    """The thoughts in an array of details, and the format each names; what is none is left out."""
    for detail in wire.objects(details):
        name = wire.text(detail.get("format")) or _UNKNOWN
        data, signature = wire.text(detail.get("data")), wire.text(detail.get("signature")) or None
        if detail.get("type") == "reasoning.encrypted":
            if data:
                yield Reasoning("", data, redacted=True), name
            continue
        text = wire.text(detail.get("text")) or wire.text(detail.get("summary")) or ""
        if text or signature:
            yield Reasoning(text, signature), name


def _with_origin(thought: Reasoning, name: str) -> Reasoning:
    if thought.signature is None:
        return thought
    origin = _ORIGINS.get(name)
    return _own(thought, name) if origin is None else replace(thought, origin=origin)


def _own(thought: Reasoning, name: str) -> Reasoning:
    tagged = f"{name}:{thought.signature}"
    signature = tagged if name != _UNKNOWN and _TAGGED.fullmatch(tagged) else thought.signature
    return replace(thought, signature=signature, origin=_CHAT)


def written(thought: Reasoning | ReasoningDelta, index: int) -> dict[str, Any]:
    """One thought, or a piece of it, as a detail; pieces of one thought have the same index."""
    signature, name = thought.signature, _FORMATS.get(thought.origin or "", _UNKNOWN)
    if signature is None:
        return {"type": "reasoning.text", "text": thought.text, "index": index}
    tagged = _TAGGED.fullmatch(signature) if thought.origin == _CHAT else None
    if tagged is not None:
        signature, name = tagged["signature"], tagged["format"]
    if thought.redacted:
        return {"type": "reasoning.encrypted", "data": signature, "format": name, "index": index}
    return {"type": "reasoning.text", "text": thought.text, "signature": signature, "format": name, "index": index}


def call_signature(call: Mapping[str, Any]) -> str | None:
    """The signature that came with a tool call."""
    google = wire.mapping(wire.mapping(call.get("extra_content")).get("google"))
    return wire.text(google.get("thought_signature"))


def signed_call(signature: str | None) -> dict[str, Any]:
    """The field of a tool call that carries its signature."""
    return {} if signature is None else {"extra_content": {"google": {"thought_signature": signature}}}
