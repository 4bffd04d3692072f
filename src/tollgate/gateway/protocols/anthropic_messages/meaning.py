"""A message request in neutral form: what it means to a provider that speaks another format.

Wire format: https://platform.claude.com/docs/en/api/messages/create
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from tollgate.gateway.model import Request
from tollgate.gateway.neutral import (
    Conversation,
    Message,
    ResponseFormat,
    Role,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
)
from tollgate.gateway.protocols.anthropic_messages.blocks import Blocks, cache
from tollgate.gateway.protocols.anthropic_messages.reading import (
    FLAG,
    OBJECT,
    TEXT,
    Fields,
    asks,
    at,
    blocks,
    each,
    inside,
    text,
)
from tollgate.kit.errors import InvalidRequest

_MEANT = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "tools",
    "tool_choice", "thinking", "output_config", "output_format", "service_tier", "speed",
    "cache_control",  # a mark whose place Anthropic finds itself; other providers remember prompts unasked
    "inference_geo",  # can only be everywhere
})  # fmt: skip
"""The fields that are read here; any other one has no meaning outside this format."""
_TOOL = frozenset({
    "type", "name", "description", "input_schema", "strict", "cache_control",
    "eager_input_streaming",  # how finely arguments stream, which is up to the provider
})  # fmt: skip
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_CHOICES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
_TIERS = {"auto": None, "standard_only": "default"}
_THINKING = {"adaptive": "high", "disabled": "none"}
"""The efforts that kinds of thinking without a budget stand for, unless another is given."""

_NUMBER = msgspec.json.Decoder(float | None)
_COUNT = msgspec.json.Decoder(int | None)
_TEXTS = msgspec.json.Decoder(tuple[str, ...] | None)
_SCHEMA = msgspec.json.Decoder(dict[str, Any] | None)


def conversation(request: Request) -> Conversation:
    """What the request means.

    Raises:
        InvalidRequest: a field has a form that means nothing in this format.
    """
    fields, reading = request.fields, Blocks()
    choice = inside(fields, "tool_choice", "")
    output = inside(fields, "output_config", "")
    return Conversation(
        messages=(*_instructions(fields, reading), *_messages(fields, reading)),
        tools=tuple(_tools(fields, reading)),
        tool_choice=_tool_choice(choice) if choice else None,
        parallel_tool_calls=False if at(choice, "disable_parallel_tool_use", FLAG, "tool_choice") else None,
        max_tokens=request.max_tokens,
        temperature=at(fields, "temperature", _NUMBER, ""),
        top_p=at(fields, "top_p", _NUMBER, ""),
        top_k=at(fields, "top_k", _COUNT, ""),
        stop=at(fields, "stop_sequences", _TEXTS, "") or (),
        response_format=_format(fields, output),
        reasoning=_reasoning(fields, output),
        service_tier=_service_tier(fields),
        others=(*_others(fields, output), *reading.foreign),
    )


def _instructions(fields: Fields, reading: Blocks) -> Iterator[Message]:
    if parts := tuple(reading.parts(blocks(fields, "system", ""), "system")):
        yield Message(Role.SYSTEM, parts)


def _messages(fields: Fields, reading: Blocks) -> Iterator[Message]:
    """The turns; results of tools, which come in the user's turn here, in messages of their own."""
    for index, message in enumerate(each(fields, "messages", "")):
        path = f"messages[{index}]"
        role = _ROLES.get(text(message, "role", path))
        if role is None:
            raise InvalidRequest(f"{path}.role is user or assistant.", field=f"{path}.role")
        parts = reading.parts(blocks(message, "content", path), f"{path}.content")
        for is_result, said in groupby(parts, lambda part: isinstance(part, ToolResult)):
            yield Message(Role.TOOL if is_result else role, tuple(said))


def _tools(fields: Fields, reading: Blocks) -> Iterator[Tool]:
    for index, tool in enumerate(each(fields, "tools", "")):
        path = f"tools[{index}]"
        if at(tool, "type", TEXT, path) not in {None, "custom"}:
            reading.foreign.append(f"{path}.type")
            continue
        reading.foreign += [f"{path}.{name}" for name in tool if name not in _TOOL and _is_foreign(tool, name)]
        yield Tool(
            name=text(tool, "name", path),
            description=at(tool, "description", TEXT, path),
            schema=at(tool, "input_schema", _SCHEMA, path),
            strict=at(tool, "strict", FLAG, path),
            cache=cache(tool, path),
        )


def _is_foreign(tool: Fields, name: str) -> bool:
    """Whether an option of a function asks for something; to be called by the model itself is how it is anyway."""
    return asks(tool, name) and not (name == "allowed_callers" and bytes(tool[name]) == b'["direct"]')


def _tool_choice(choice: Fields) -> ToolChoice:
    kind = text(choice, "type", "tool_choice")
    if kind not in _CHOICES:
        raise InvalidRequest("tool_choice.type is auto, any, tool or none.", field="tool_choice.type")
    return ToolChoice(_CHOICES[kind], text(choice, "name", "tool_choice") if kind == "tool" else None)


def _format(fields: Fields, output: Fields) -> ResponseFormat | None:
    """The form of the answer. It stood in a field of its own before it was documented here."""
    given = at(output, "format", OBJECT, "output_config") or at(fields, "output_format", OBJECT, "")
    return None if given is None else ResponseFormat(at(given, "schema", _SCHEMA, "output_config.format"))


def _reasoning(fields: Fields, output: Fields) -> Thinking | None:
    given = inside(fields, "thinking", "")
    effort, kind = at(output, "effort", TEXT, "output_config"), at(given, "type", TEXT, "thinking")
    display = at(given, "display", TEXT, "thinking")
    shown = None if display is None else display != "omitted"
    if kind == "enabled":
        return Thinking(effort, at(given, "budget_tokens", _COUNT, "thinking"), shown)
    if kind == "disabled":
        return Thinking("none")
    effort = effort or _THINKING.get(kind or "")
    return None if effort is None else Thinking(effort, shown=shown)


def _service_tier(fields: Fields) -> str | None:
    name = at(fields, "service_tier", TEXT, "")
    return None if name is None else _TIERS.get(name, name)


def _others(fields: Fields, output: Fields) -> Iterator[str]:
    """The fields and options that have no meaning outside this format."""
    yield from (name for name in fields if name not in _MEANT and asks(fields, name))
    yield from (f"output_config.{name}" for name in output if name not in {"effort", "format"} and asks(output, name))
    if at(fields, "speed", TEXT, "") not in {None, "standard"}:
        yield "speed"
    if at(inside(fields, "thinking", ""), "type", TEXT, "thinking") not in {
        None, "enabled", "disabled", "adaptive",
    }:  # fmt: skip
        yield "thinking.type"
