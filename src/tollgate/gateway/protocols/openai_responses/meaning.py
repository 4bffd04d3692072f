"""A request for a response in neutral form: what its settings and tools mean.

Wire format: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from tollgate.gateway.model import Request
from tollgate.gateway.neutral import (
    Conversation,
    Feature,
    Message,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
)
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_responses import items
from tollgate.gateway.protocols.openai_responses.reading import read

NAMES: Mapping[Feature, str] = {
    Feature.MAX_TOKENS: "max_output_tokens",
    Feature.RESPONSE_FORMAT: "text.format",
    Feature.VERBOSITY: "text.verbosity",
    Feature.LOGPROBS: "include",
    Feature.IMAGES: "input_image",
    Feature.IMAGE_URLS: "input_image.image_url",
    Feature.AUDIO: "input_audio",
    Feature.FILES: "input_file",
    Feature.FILE_URLS: "input_file.file_url",
    Feature.FILE_IDS: "file_id",
}

Decoded = TypeVar("Decoded")

_SAID_ELSEWHERE = frozenset({
    "background", "include", "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls", "reasoning",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs",
    "top_p", "truncation",
})  # fmt: skip
_LOGPROBS = "message.output_text.logprobs"
_INCLUDED = frozenset({
    _LOGPROBS, "reasoning.encrypted_content", "code_interpreter_call.outputs", "computer_call_output.output.image_url",
    "file_search_call.results", "message.input_image.image_url", "web_search_call.action.sources",
    "web_search_call.results",
})  # fmt: skip
"""What comes anyway, or has nothing to come with: hosted tools do not cross."""
_DEFAULT_TIERS = frozenset({"auto", "default"})

_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class _Reasoning(msgspec.Struct):
    effort: _Effort | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


_REASONING = msgspec.json.Decoder(_Reasoning | None)
_TEXT = msgspec.json.Decoder(_Text | None)
_TOOLS = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)
_FUNCTION = msgspec.json.Decoder(_Function)
_CHOICE = msgspec.json.Decoder(str | _Choice | None)
_INCLUDE = msgspec.json.Decoder(tuple[str, ...] | None)
_NUMBER = msgspec.json.Decoder(float | None)
_INTEGER = msgspec.json.Decoder(int | None)
_WORD = msgspec.json.Decoder(str | None)
_STREAM_OPTIONS = msgspec.json.Decoder(_StreamOptions | None)
_MODES = frozenset({"none", "required"})


def conversation(request: Request) -> Conversation:
    """What the request means. Settings that say no more than their documented default are left out.

    Raises:
        InvalidRequest: a field has a form that means nothing in this format.
    """
    fields = _Fields(request.fields)
    settings, reasoning = fields.get("text", _TEXT) or _Text(), fields.get("reasoning", _REASONING) or _Reasoning()
    included = fields.get("include", _INCLUDE) or ()
    top_logprobs = fields.get("top_logprobs", _INTEGER) or None
    tools, other_tools = _tools(fields)
    choice = fields.get("tool_choice", _CHOICE)
    messages, other_items = items.messages(fields.raw("input"))
    instructions = fields.get("instructions", _WORD)
    tier = fields.get("service_tier", _WORD)
    return Conversation(
        messages=(*(() if not instructions else (Message(Role.SYSTEM, (Text(instructions),)),)), *messages),
        tools=tools,
        tool_choice=_tool_choice(choice),
        parallel_tool_calls=False if fields.get("parallel_tool_calls", envelope.FLAG) is False else None,
        max_tokens=request.max_tokens,
        temperature=fields.get("temperature", _NUMBER),
        top_p=fields.get("top_p", _NUMBER),
        logprobs=True if _LOGPROBS in included or top_logprobs else None,
        top_logprobs=top_logprobs,
        response_format=_response_format(settings.format),
        reasoning=_thinking(reasoning),
        verbosity=None if settings.verbosity == "medium" else settings.verbosity,
        service_tier=None if tier in _DEFAULT_TIERS else tier,
        others=tuple(dict.fromkeys([
            *_other_settings(fields, reasoning, included), *_other_choice(choice), *other_tools, *other_items,
        ])),
    )  # fmt: skip


class _Fields:
    """The fields of a body, read one by one."""

    def __init__(self, fields: Mapping[str, msgspec.Raw]) -> None:
        self.given = {name: value for name, value in fields.items() if value != envelope.NULL}

    def raw(self, name: str) -> msgspec.Raw:
        """A field, still encoded."""
        return self.given.get(name, envelope.NULL)

    def get(self, name: str, form: msgspec.json.Decoder[Decoded]) -> Decoded:
        """A field decoded; what its form makes of null, if it is missing."""
        return read(self.raw(name), form, name)


def _tools(fields: _Fields) -> tuple[tuple[Tool, ...], list[str]]:
    """The functions, and the names of whatever else there is among the tools."""
    functions: list[Tool] = []
    others: list[str] = []
    for number, tool in enumerate(fields.get("tools", _TOOLS) or ()):
        where = f"tools[{number}]"
        kind = read(tool.get("type", envelope.NULL), _WORD, f"{where}.type")
        if kind != "function":
            others.append(f"tools.{kind}")
            continue
        function = read(msgspec.Raw(msgspec.json.encode(tool)), _FUNCTION, where)
        functions.append(Tool(function.name, function.description, function.parameters, function.strict))
        known = {"type", *_Function.__struct_fields__}
        others += [f"tools.{name}" for name, value in tool.items() if name not in known and _asks(value)]
    return tuple(functions), others


def _asks(value: msgspec.Raw) -> bool:
    """Whether a setting asks for anything."""
    return bytes(value) not in {b"null", b"false", b"[]", b"{}", b'["direct"]'}


def _tool_choice(choice: str | _Choice | None) -> ToolChoice | None:
    if isinstance(choice, str):
        return ToolChoice(choice) if choice in _MODES else None
    if choice is not None and choice.type == "function" and choice.name is not None:
        return ToolChoice("named", choice.name)
    return None


def _other_choice(choice: str | _Choice | None) -> Iterator[str]:
    if choice is not None and choice != "auto" and _tool_choice(choice) is None:
        yield "tool_choice"


def _response_format(wanted: _Format | None) -> ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat()
    return ResponseFormat(wanted.schema or {}, wanted.name, wanted.description, wanted.strict)


def _thinking(wanted: _Reasoning) -> Thinking | None:
    shown = True if wanted.summary is not None or wanted.generate_summary is not None else None
    return None if wanted.effort is None and shown is None else Thinking(wanted.effort, shown=shown)


def _other_settings(fields: _Fields, reasoning: _Reasoning, included: tuple[str, ...]) -> Iterator[str]:
    """The settings that mean nothing outside this format, where they ask for more than their default."""
    yield from (name for name, value in fields.given.items() if name not in _SAID_ELSEWHERE and _asks(value))
    options = fields.get("stream_options", _STREAM_OPTIONS) or _StreamOptions()
    asked = (
        ("store", fields.get("store", envelope.FLAG) is True),
        ("stream_options", options.include_obfuscation is True),
        ("truncation", fields.get("truncation", _WORD) not in {None, "disabled"}),
        ("include", not _INCLUDED.issuperset(included)),
        ("reasoning.context", reasoning.context not in {None, "auto"}),
        ("reasoning.mode", reasoning.mode not in {None, "standard"}),
    )
    yield from (name for name, asks in asked if asks)
