"""Messages of a chat in neutral form: who says what, part by part.

Wire format: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages, with thoughts in
`reasoning_details` and cache marks in `cache_control`, as OpenRouter has them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tollgate.gateway import reasoning_details, wire
from tollgate.gateway.neutral import (
    Cache,
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
from tollgate.gateway.protocols import media
from tollgate.kit.errors import InvalidRequest

_AT = "messages["
_WEB = ("https://", "http://")


def conversation_messages(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages that say something.

    Raises:
        InvalidRequest: one has a role or a part that means nothing, or that no other format could tell.
    """
    read: list[Message] = []
    calls = _Calls()
    for number, message in enumerate(messages):
        said = _message(message, f"{_AT}{number}]", calls)
        calls.add(said.parts)
        if said.parts:
            read.append(said)
    return tuple(read)


def refusal(field: str, why: str) -> InvalidRequest:
    """The error that a part of the body has no meaning here."""
    return InvalidRequest(f"{field}: {why}", field=field)


class _Calls:
    """The tool calls of the messages so far: results name them by their ids alone, or in the old form by name alone."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    def add(self, parts: Iterable[Part]) -> None:
        """Take note of the calls among these parts."""
        for part in parts:
            if isinstance(part, ToolCall):
                self._names[part.id] = part.name
                self._ids[part.name] = part.id

    def name_of(self, call_id: str) -> str | None:
        """Which function was called."""
        return self._names.get(call_id)

    def last_of(self, name: str) -> str | None:
        """The last call of a function."""
        return self._ids.get(name)


def _message(message: Mapping[str, Any], at: str, calls: _Calls) -> Message:
    match message.get("role"):
        case "system" | "developer":
            return Message(Role.SYSTEM, _named(_content(message, at), message))
        case "user":
            return Message(Role.USER, _named(_content(message, at), message))
        case "assistant":
            return Message(Role.ASSISTANT, _said(message, at))
        case "tool":
            return Message(Role.TOOL, (_result(message, at, _text(message, "tool_call_id", at), calls),))
        case "function":
            called = calls.last_of(_text(message, "name", at))
            if called is None:
                raise refusal(f"{at}.name", "no function of this name was called before.")
            return Message(Role.TOOL, (_result(message, at, called, calls),))
        case role:
            raise refusal(f"{at}.role", f"{str(role)[:40]!r} is not a role of a chat.")


def _text(fields: Mapping[str, Any], name: str, at: str) -> str:
    value = wire.text(fields.get(name))
    if value is None:
        raise refusal(f"{at}.{name}", "give a string.")
    return value


def _named(parts: tuple[Part, ...], message: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts under the name of who says them, which other formats have in the text alone."""
    name = wire.text(message.get("name"))
    if not name or not parts:
        return parts
    first, *others = parts
    if isinstance(first, Text):
        return (replace(first, text=f"{name}: {first.text}"), *others)
    return (Text(f"{name}:"), *parts)


def _content(message: Mapping[str, Any], at: str) -> tuple[Part, ...]:
    """A message's content: a string, an array of parts, or nothing."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise refusal(f"{at}.content", "give a string or an array of parts.")
    parts = (_part(part, f"{at}.content[{number}]") for number, part in enumerate(content))
    return tuple(part for part in parts if part != Text(""))


def _part(part: object, at: str) -> Part:
    if not isinstance(part, dict):
        raise refusal(at, "give an object.")
    match part.get("type"):
        case "text":
            return Text(_text(part, "text", at), cache_of(part))
        case "refusal":
            return Refusal(_text(part, "refusal", at))
        case "image_url":
            return _image(part, at)
        case "input_audio":
            sound = wire.mapping(part.get("input_audio"))
            kind = _text(sound, "format", f"{at}.input_audio")
            data = _text(sound, "data", f"{at}.input_audio")
            return media.sound(data, kind)
        case "file":
            return _file(part, at)
        case kind:
            raise refusal(f"{at}.type", f"{str(kind)[:40]!r} is not a kind of part that can be told to this model.")


def cache_of(part: Mapping[str, Any]) -> Cache | None:
    """The mark up to which the prompt is to be remembered."""
    mark = part.get("cache_control")
    return Cache(wire.text(mark.get("ttl"))) if isinstance(mark, dict) else None


def _image(part: Mapping[str, Any], at: str) -> Image:
    given = part.get("image_url")
    picture = {"url": given} if isinstance(given, str) else wire.mapping(given)
    url, detail = _text(picture, "url", f"{at}.image_url"), wire.text(picture.get("detail"))
    source = Link(url) if url.lower().startswith(_WEB) else media.inline(url)
    if source is None:
        raise refusal(f"{at}.image_url.url", "give an address on the web, or the data as data:image/…;base64,….")
    return Image(source, None if detail == "auto" else detail, cache_of(part))


def _file(part: Mapping[str, Any], at: str) -> File:
    given = wire.mapping(part.get("file"))
    name, data, known = (wire.text(given.get(key)) for key in ("filename", "file_data", "file_id"))
    if data is None and known is None:
        raise refusal(f"{at}.file", "give file_data or file_id.")
    if data is None:
        return File(Uploaded(known or ""), name, cache_of(part))
    if data.lower().startswith(_WEB):
        return File(Link(data), name, cache_of(part))
    return File(media.inline(data) or Inline(media.FILE_TYPE, data), name, cache_of(part))


def _said(message: Mapping[str, Any], at: str) -> tuple[Part, ...]:
    """What the model said before: thoughts, words, a refusal, tool calls."""
    thoughts: list[Reasoning] = reasoning_details.said_by_client(message.get("reasoning_details"))
    plain = wire.text(message.get("reasoning")) or wire.text(message.get("reasoning_content"))
    if not thoughts and plain:
        thoughts = [Reasoning(plain)]
    declined = wire.text(message.get("refusal"))
    if message.get("audio") is not None:
        raise refusal(f"{at}.audio", "what was said aloud before is known to the provider alone that said it.")
    return (
        *thoughts,
        *_named(_content(message, at), message),
        *([Refusal(declined)] if declined else []),
        *_calls(message, at),
    )


def _calls(message: Mapping[str, Any], at: str) -> list[ToolCall]:
    calls = message.get("tool_calls")
    old = message.get("function_call")
    if calls is None and old is not None:
        # The old form has no ids: where the call stands in the conversation makes one.
        number = at.removeprefix(_AT).rstrip("]")
        return [_call({"id": f"call_{number}", "function": old}, f"{at}.function_call")]
    if not isinstance(calls, list | None):
        raise refusal(f"{at}.tool_calls", "give an array.")
    return [_call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(calls or ())]


def _call(call: object, at: str) -> ToolCall:
    given = wire.mapping(call)
    function = given.get("function")
    if not isinstance(function, dict):
        raise refusal(f"{at}.function", "only calls of functions can be told to this model.")
    return ToolCall(
        id=_text(given, "id", at),
        name=_text(function, "name", f"{at}.function"),
        arguments=_text(function, "arguments", f"{at}.function"),
        signature=reasoning_details.call_signature(given),
    )


def _result(message: Mapping[str, Any], at: str, call_id: str, calls: _Calls) -> ToolResult:
    parts = []
    for number, part in enumerate(_content(message, at)):
        if not isinstance(part, Text | Image | File):
            raise refusal(f"{at}.content[{number}].type", "a tool returns text, images or files.")
        parts.append(part)
    marks = [part.cache for part in parts if part.cache is not None]
    return ToolResult(
        call_id=call_id,
        parts=tuple(replace(part, cache=None) for part in parts),
        name=wire.text(message.get("name")) or calls.name_of(call_id),
        cache=marks[-1] if marks else None,
    )
