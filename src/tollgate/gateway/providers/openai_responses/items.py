"""Messages of a conversation as input items.

Wire format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
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


def written(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """The items, in order. Marks of what to cache are left out: OpenAI caches by itself, and older ones refuse any."""
    for message in messages:
        if message.role is Role.ASSISTANT:
            yield from _said(message.parts)
        elif message.role is Role.TOOL:
            yield from (_result(part) for part in message.parts if isinstance(part, ToolResult))
        else:
            content = [content for part in message.parts if (content := _content(part)) is not None]
            yield {"type": "message", "role": message.role.value, "content": content}


def _said(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    """What the model said before; what it said in one go is one message."""
    for is_message, group in groupby(parts, lambda part: isinstance(part, Text | Refusal)):
        if is_message:
            yield {"type": "message", "role": "assistant", "content": [_spoken(part) for part in group]}
        else:
            yield from (item for part in group if (item := _item(part)) is not None)


def _spoken(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "output_text", "text": text, "annotations": []}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case _:
            return None


def _item(part: Part) -> dict[str, Any] | None:
    match part:
        case Reasoning(signature=str(signature), origin=Wire.RESPONSES.value):
            # Without an id: one that is not stored would be looked for in vain.
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            return {"type": "reasoning", "summary": summary, "encrypted_content": signature}
        case ToolCall():
            arguments = part.arguments or "{}"
            return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
        case _:
            return None


def _result(result: ToolResult) -> dict[str, Any]:
    """What a tool returned."""
    output: str | list[dict[str, Any]]
    match result.told:
        case ():
            output = ""
        case (Text(text=text),):
            output = text
        case parts:
            output = [content for part in parts if (content := _content(part)) is not None]
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _content(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Image(source=source):
            return {"type": "input_image", **_image(source), "detail": part.detail or "auto"}
        case File(source=source):
            return {"type": "input_file", **_file(source, part.name)}
        case _:
            return None


def _image(source: Inline | Link | Uploaded) -> dict[str, str]:
    match source:
        case Uploaded(id=identifier):
            return {"file_id": identifier}
        case Link(url=url):
            return {"image_url": url}
        case Inline():
            return {"image_url": _data_url(source)}


def _file(source: Inline | Link | Uploaded, name: str | None) -> dict[str, str]:
    match source:
        case Uploaded(id=identifier):
            return {"file_id": identifier}
        case Link(url=url):
            return {"file_url": url}
        case Inline():
            kind = source.media_type.partition("/")[2] or "pdf"
            return {"filename": name or f"document.{kind}", "file_data": _data_url(source)}


def _data_url(data: Inline) -> str:
    return f"data:{data.media_type};base64,{data.base64}"
