"""Thoughts with their signatures as chat completions carry them, at clients and providers alike: `reasoning_details`.

OpenAI's own format has no place for thoughts. This one is OpenRouter's:
https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

from collections.abc import Iterator, Mapping
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


def read(details: object) -> Iterator[Reasoning]:
    """The thoughts in an array of details; what is none is left out."""
    for detail in wire.objects(details):
        format_name = wire.text(detail.get("format"))
        origin = _ORIGINS.get(format_name or _UNKNOWN, Wire.CHAT.value)
        data, signature = wire.text(detail.get("data")), wire.text(detail.get("signature"))
        if detail.get("type") == "reasoning.encrypted":
            if data:
                yield Reasoning("", data, origin, redacted=True)
            continue
        text = wire.text(detail.get("text")) or wire.text(detail.get("summary")) or ""
        if text or signature:
            yield Reasoning(text, signature or None, origin if signature else None)


def written(thought: Reasoning | ReasoningDelta, index: int) -> dict[str, Any]:
    """One thought, or a piece of it, as a detail; pieces of one thought have the same index."""
    origin = {} if thought.signature is None else {"format": _FORMATS.get(thought.origin or "", _UNKNOWN)}
    if thought.redacted:
        return {"type": "reasoning.encrypted", "data": thought.signature, **origin, "index": index}
    signature = {} if thought.signature is None else {"signature": thought.signature}
    return {"type": "reasoning.text", "text": thought.text, **signature, **origin, "index": index}
