"""A chat completion request in neutral form: what it means, for providers who speak another format.

Wire format: https://platform.openai.com/docs/api-reference/chat/create, and the names that compatible servers share.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Request
from tollgate.gateway.neutral import Conversation, Feature, ResponseFormat, Thinking, Tool, ToolChoice
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_chat.messages import cache_of, conversation_messages, refusal
from tollgate.kit.errors import InvalidRequest

NAMES: Mapping[Feature, str] = {
    **{feature: feature.value for feature in Feature},
    Feature.MAX_TOKENS: "max_completion_tokens",
    Feature.REASONING: "reasoning_effort",
    Feature.IMAGES: "image_url",
    Feature.IMAGE_URLS: "image_url.url",
    Feature.AUDIO: "input_audio",
    Feature.FILES: "file",
    Feature.FILE_URLS: "file.file_data",
    Feature.FILE_IDS: "file.file_id",
}

_UNDERSTOOD = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature",
    "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning", "reasoning_effort",
    "include_reasoning", "verbosity", "service_tier",
    # Usage is always told.
    "usage",
})  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {"modalities": ["text"], "min_p": 0, "repetition_penalty": 1, "top_a": 0}
"""What asks for nothing, besides null, false and what is empty."""
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_ENABLED_EFFORT = "medium"
"""What OpenRouter takes `enabled` alone for."""

Decoded = TypeVar("Decoded")


class _Reasoning(msgspec.Struct):
    """https://openrouter.ai/docs/use-cases/reasoning-tokens."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]] | None)
_OBJECTS = msgspec.json.Decoder(list[dict[str, Any]] | None)
_NUMBER = msgspec.json.Decoder(float | None)
_INTEGER = msgspec.json.Decoder(int | None)
_STOP = msgspec.json.Decoder(str | tuple[str, ...] | None)
_BIAS = msgspec.json.Decoder(dict[str, float] | None)
_ANYTHING: msgspec.json.Decoder[Any | None] = msgspec.json.Decoder(Any)
_THINKING = msgspec.json.Decoder(_Reasoning | None)


def conversation(request: Request) -> Conversation:
    """What the request means.

    Raises:
        InvalidRequest: a field has a form that means nothing in this format.
    """
    fields = request.fields
    stop = envelope.field(fields, "stop", _STOP)
    tools, foreign = _tools(fields)
    choice, foreign_choice = _tool_choice(envelope.field(fields, "tool_choice", _ANYTHING))
    form, foreign_form = _format(envelope.field(fields, "response_format", _ANYTHING))
    return Conversation(
        messages=conversation_messages(envelope.field(fields, "messages", _MESSAGES) or ()),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=_unless(envelope.field(fields, "parallel_tool_calls", envelope.FLAG), default=True),
        max_tokens=request.max_tokens,
        temperature=envelope.field(fields, "temperature", _NUMBER),
        top_p=_unless(envelope.field(fields, "top_p", _NUMBER), default=1),
        top_k=_unless(envelope.field(fields, "top_k", _INTEGER), default=0),
        stop=(stop,) if isinstance(stop, str) else stop or (),
        seed=envelope.field(fields, "seed", _INTEGER),
        presence_penalty=_unless(envelope.field(fields, "presence_penalty", _NUMBER), default=0),
        frequency_penalty=_unless(envelope.field(fields, "frequency_penalty", _NUMBER), default=0),
        logit_bias=_unless(envelope.field(fields, "logit_bias", _BIAS), default={}),
        logprobs=_unless(envelope.field(fields, "logprobs", envelope.FLAG), default=False),
        top_logprobs=_unless(envelope.field(fields, "top_logprobs", _INTEGER), default=0),
        choices=request.choices,
        response_format=form,
        reasoning=_reasoning(fields),
        verbosity=_unless(envelope.field(fields, "verbosity", envelope.TEXT), default="medium"),
        service_tier=_unless(request.service_tier, default="auto"),
        others=(*foreign, *foreign_choice, *foreign_form, *_others(fields)),
    )


def _unless(value: Decoded | None, *, default: object) -> Decoded | None:
    """The value, unless it is the documented default, which asks for nothing."""
    return None if value == default else value


def _others(fields: Mapping[str, msgspec.Raw]) -> list[str]:
    """The fields that ask for something that only this format has."""
    return [
        name for name in sorted(fields.keys() - _UNDERSTOOD)
        if (asked := envelope.field(fields, name, _ANYTHING)) and asked != _DEFAULTS.get(name)
    ]  # fmt: skip


def _tools(fields: Mapping[str, msgspec.Raw]) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The functions, and the field's own name if there are tools of other kinds among them."""
    given = envelope.field(fields, "tools", _OBJECTS) or ()
    functions = tuple(
        _tool(tool, f"tools[{number}]") for number, tool in enumerate(given) if tool.get("type") == "function"
    )
    return functions, () if len(functions) == len(given) else ("tools",)


def _tool(tool: Mapping[str, Any], at: str) -> Tool:
    function = tool.get("function")
    if not isinstance(function, dict):
        raise refusal(f"{at}.function", "describe the function.")
    name, schema, strict = wire.text(function.get("name")), function.get("parameters"), function.get("strict")
    if not name:
        raise refusal(f"{at}.function.name", "name the function.")
    if not isinstance(schema, dict | None):
        raise refusal(f"{at}.function.parameters", "give a JSON Schema of the arguments.")
    return Tool(
        name=name,
        description=wire.text(function.get("description")),
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
        cache=cache_of(tool),
    )


def _tool_choice(choice: Any) -> tuple[ToolChoice | None, tuple[str, ...]]:
    """The choice, and the field's own name if it chooses in a way that only this format has."""
    match choice:
        case None | "auto":
            return None, ()
        case "none" | "required":
            return ToolChoice(choice), ()
        case "any":
            return ToolChoice("required"), ()
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("named", name), ()
        case {"type": "allowed_tools" | "custom"}:
            return None, ("tool_choice",)
        case _:
            raise refusal("tool_choice", "choose auto, none, required or a function by its name.")


def _format(form: Any) -> tuple[ResponseFormat | None, tuple[str, ...]]:
    """The form of the answer, and the field's own name if only this format has it."""
    match form:
        case None | {"type": "text"}:
            return None, ()
        case {"type": "json_object"}:
            return ResponseFormat(), ()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema), **given}}:
            strict = given.get("strict")
            return ResponseFormat(
                schema=schema,
                name=wire.text(given.get("name")),
                description=wire.text(given.get("description")),
                strict=strict if isinstance(strict, bool) else None,
            ), ()
        case {"type": "json_schema"}:
            raise refusal("response_format.json_schema.schema", "give a JSON Schema of the answer.")
        case {"type": str()}:
            return None, ("response_format",)
        case _:
            raise refusal("response_format", "give an object with a type.")


def _reasoning(fields: Mapping[str, msgspec.Raw]) -> Thinking | None:
    """How much to think, in OpenAI's word for it or in OpenRouter's object."""
    given = envelope.field(fields, "reasoning", _THINKING) or _Reasoning()
    effort = given.effort or envelope.field(fields, "reasoning_effort", envelope.TEXT)
    if given.enabled is False:
        effort = "none"
    elif given.enabled and effort is None and given.max_tokens is None:
        effort = _ENABLED_EFFORT
    if effort is not None and effort not in _EFFORTS:
        field = "reasoning.effort" if given.effort else "reasoning_effort"
        raise InvalidRequest(f"{field}: {effort[:40]!r} is not an effort; choose none to max.", field=field)
    shown = envelope.field(fields, "include_reasoning", envelope.FLAG)
    thinking = Thinking(effort, given.max_tokens, shown if given.exclude is None else not given.exclude)
    return None if thinking == Thinking() else thinking
