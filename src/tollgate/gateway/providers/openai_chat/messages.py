"""Messages of a conversation as providers of chat completions take them.

Wire format: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tollgate.gateway import reasoning_details
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Audio,
    File,
    Image,
    Inline,
    Link,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.providers import cache_control

CACHE = cache_control.FIELD
"""An endpoint that lists these parameters takes, in messages: marks of what to remember (OpenRouter),"""
THOUGHTS = "reasoning_content"
"""thoughts as text, which some models want back while they call tools (DeepSeek, Moonshot),"""
SIGNED_THOUGHTS = "reasoning_details"
"""thoughts with their signatures (OpenRouter),"""
SIGNED_CALLS = "extra_content"
"""and signatures of calls (Gemini). Other servers refuse fields that they do not know."""

_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}


def written(messages: Iterable[Message], supported: Collection[str]) -> Iterator[dict[str, Any]]:
    """The messages, each result of a tool in one of its own; `supported` are the endpoint's parameters."""
    for message in messages:
        match message.role:
            case Role.TOOL:
                yield from _results([part for part in message.parts if isinstance(part, ToolResult)], supported)
            case Role.ASSISTANT:
                yield _said(message.parts, supported)
            case role:
                yield {"role": role.value, "content": _content(message.parts, supported)}


def _content(parts: Iterable[Part], supported: Collection[str]) -> str | list[dict[str, Any]]:
    """One text as a string, which every server takes, or an array of parts."""
    encoded = [each for part in parts if (each := _part(part)) is not None]
    if CACHE not in supported:
        encoded = [{name: value for name, value in each.items() if name != CACHE} for each in encoded]
    if len(encoded) == 1 and encoded[0].keys() == {"type", "text"}:
        return str(encoded[0]["text"])
    return encoded


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text():
            return {"type": "text", "text": part.text, **cache_control.of(part.cache)}
        case Image():
            detail = {} if part.detail is None else {"detail": part.detail}
            return {
                "type": "image_url",
                "image_url": {"url": _address(part.source), **detail},
                **cache_control.of(part.cache),
            }
        case Audio(source=source):
            subtype = source.media_type.partition("/")[2]
            sound = {"data": source.base64, "format": _AUDIO_FORMATS.get(subtype, subtype)}
            return {"type": "input_audio", "input_audio": sound}
        case File():
            return {"type": "file", "file": _file(part), **cache_control.of(part.cache)}
        case _:
            return None


def _address(source: Inline | Link | Uploaded) -> str:
    match source:
        case Inline():
            return f"data:{source.media_type};base64,{source.base64}"
        case Link():
            return source.url
        case Uploaded():
            return source.id


def _file(file: File) -> dict[str, Any]:
    if isinstance(file.source, Uploaded):
        return {"file_id": file.source.id}
    kind = file.source.media_type.partition("/")[2] if isinstance(file.source, Inline) else ""
    return {"filename": file.name or f"document.{kind or 'pdf'}", "file_data": _address(file.source)}


def _said(parts: Iterable[Part], supported: Collection[str]) -> dict[str, Any]:
    """What the model said before."""
    parts = list(parts)
    texts = [part for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    calls = [_call(part, supported) for part in parts if isinstance(part, ToolCall)]
    said: dict[str, Any] = {"role": "assistant", "content": _content(texts, supported) if texts else None}
    if refusals:
        said["refusal"] = "".join(refusals)
    if calls:
        said["tool_calls"] = calls
    return said | _thoughts([part for part in parts if isinstance(part, Reasoning)], supported)


def _thoughts(thoughts: list[Reasoning], supported: Collection[str]) -> dict[str, Any]:
    if SIGNED_THOUGHTS in supported:
        known = [_own(thought) for thought in thoughts]
        details = [reasoning_details.written(each, index) for index, each in enumerate(filter(None, known))]
        return {SIGNED_THOUGHTS: details} if details else {}
    text = "".join(thought.text for thought in thoughts)
    return {THOUGHTS: text} if THOUGHTS in supported and text else {}


def _own(thought: Reasoning) -> Reasoning | None:
    """The thought, with a signature only if it came from a provider of this format."""
    if thought.signature is None or thought.origin == Wire.CHAT.value:
        return thought
    return Reasoning(thought.text) if thought.text else None


def _call(call: ToolCall, supported: Collection[str]) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    encoded: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    return encoded | (reasoning_details.signed_call(call.signature) if SIGNED_CALLS in supported else {})


def _results(results: list[ToolResult], supported: Collection[str]) -> Iterator[dict[str, Any]]:
    """What tools returned. Only text can stand there: pictures and files follow as the user's, told whose they are."""
    shown: list[Part] = []
    for result in results:
        texts = [part for part in result.told if isinstance(part, Text)]
        others = [part for part in result.parts if not isinstance(part, Text)]
        if others:
            shown += [Text(f"Returned by tool call {result.call_id}:"), *others]
        marked = [Text(text.text, result.cache if number == len(texts) else None)
                  for number, text in enumerate(texts, start=1)]  # fmt: skip
        yield {"role": "tool", "tool_call_id": result.call_id, "content": _content(marked, supported) or ""}
    if shown:
        yield {"role": "user", "content": _content(shown, supported)}
