"""What a conversation says, as Anthropic wants it said: system, turns of user and assistant, tools.

Wire format: https://platform.claude.com/docs/en/api/messages/create
"""

import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Conversation,
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
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.providers import cache_control
from tollgate.kit.errors import InvalidRequest

Block = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_PDF = "application/pdf"
_NO_ARGUMENTS = {"type": "object", "properties": {}}


def of(conversation: Conversation) -> Block:
    """The fields `system`, `messages`, `tools` and `tool_choice`.

    Raises:
        InvalidRequest: something in it has no form in this format.
    """
    turns = _turns(conversation.messages)
    if not turns:
        raise InvalidRequest("There is no message besides instructions.", field="messages")
    fields: Block = {"messages": turns}
    if system := [block for message in conversation.messages for block in _instructions(message)]:
        fields["system"] = system
    if conversation.tools:
        fields["tools"] = [_tool(tool) for tool in conversation.tools]
        if choice := _tool_choice(conversation.tool_choice, parallel=conversation.parallel_tool_calls):
            fields["tool_choice"] = choice
    return fields


def _instructions(message: Message) -> Iterator[Block]:
    """Instructions stand apart, before all turns, wherever in the conversation they were given."""
    if message.role is Role.SYSTEM:
        yield from _blocks(message.parts)


def _turns(messages: Iterable[Message]) -> list[Block]:
    """Turns by turns: what one role says in several messages is joined, and results of tools come first."""
    turns: list[Block] = []
    for message in messages:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [] if message.role is Role.SYSTEM else list(_blocks(message.parts))
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def _blocks(parts: Iterable[Part]) -> Iterator[Block]:
    for part in parts:
        match part:
            case Text(text=text, cache=cache) if text.strip():
                yield {"type": "text", "text": text, **cache_control.of(cache)}
            case Refusal(text=text) if text.strip():
                yield {"type": "text", "text": text}
            case Text() | Refusal():
                pass  # Anthropic refuses texts with nothing in them.
            case Image():
                yield _image(part)
            case File():
                yield _document(part)
            case Reasoning():
                yield from _thoughts(part)
            case ToolCall():
                yield {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": _input(part.arguments)}
            case ToolResult():
                yield _result(part)
            case _:
                raise InvalidRequest("This format has no audio.", field="messages")


def _image(image: Image) -> Block:
    return {"type": "image", "source": _source(image.source), **cache_control.of(image.cache)}


def _document(file: File) -> Block:
    source = file.source
    title = {} if file.name is None else {"title": file.name}
    if isinstance(source, Inline) and source.media_type.startswith("text/"):
        said = {"type": "text", "media_type": "text/plain", "data": _plain(source.base64)}
    elif isinstance(source, Inline) and source.media_type != _PDF:
        raise InvalidRequest(f"Anthropic takes PDF and text files, not {source.media_type}.", field="messages")
    else:
        said = _source(source)
    return {"type": "document", "source": said, **title, **cache_control.of(file.cache)}


def _source(source: Inline | Link | Uploaded) -> dict[str, str]:
    match source:
        case Inline(media_type=media_type, base64=data):
            return {"type": "base64", "media_type": media_type, "data": data}
        case Link(url=url):
            return {"type": "url", "url": url}
        case Uploaded():
            raise InvalidRequest("Anthropic does not have what was uploaded elsewhere.", field="messages")


def _plain(data: str) -> str:
    try:
        return binascii.a2b_base64(data.encode()).decode("utf-8", "replace")
    except ValueError as error:
        raise InvalidRequest("A file's data is not base64.", field="messages") from error


def _thoughts(reasoning: Reasoning) -> Iterator[Block]:
    """Thoughts with Anthropic's own proof. It refuses all others."""
    if reasoning.origin != Wire.MESSAGES or not reasoning.signature:
        return
    if reasoning.redacted:
        yield {"type": "redacted_thinking", "data": reasoning.signature}
    else:
        yield {"type": "thinking", "thinking": reasoning.text, "signature": reasoning.signature}


def _input(arguments: str) -> object:
    """The arguments as they are; those that are no JSON object were cut off, or a mistake, and are shown as such."""
    embedded = wire.embedded(arguments or "{}")
    return {"arguments": arguments} if embedded is None else embedded


def _result(result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(result.call_id)}
    if content := list(_blocks(result.parts)):
        block["content"] = content
    if result.failed:
        block["is_error"] = True
    return block | cache_control.of(result.cache)


def _id(id: str) -> str:  # noqa: A002 - what it is called everywhere
    """The id as it is, or, if Anthropic would refuse it, another that is the same for the call and its result."""
    return id if _ID.fullmatch(id) else "toolu_" + hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:32]


def _tool(tool: Tool) -> Block:
    schema: Mapping[str, Any] = _NO_ARGUMENTS if tool.schema is None else {"type": "object", **tool.schema}
    block: Block = {"name": tool.name, "input_schema": schema}
    if tool.description is not None:
        block["description"] = tool.description
    if tool.strict is not None:
        block["strict"] = tool.strict
    return block | cache_control.of(tool.cache)


def _tool_choice(choice: ToolChoice | None, *, parallel: bool | None) -> Block:
    one_at_most = parallel is False and (choice is None or choice.mode != "none")
    if choice is None and not one_at_most:
        return {}
    fields: Block = {"type": "auto" if choice is None else _CHOICES.get(choice.mode, "auto")}
    if choice is not None and choice.name is not None:
        fields["name"] = choice.name
    if one_at_most:
        fields["disable_parallel_tool_use"] = True
    return fields
