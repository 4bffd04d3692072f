"""Chat completion requests to providers: OpenAI itself, Azure OpenAI, and the many servers compatible with it.

Wire format: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tollgate.catalog.model import Format
from tollgate.gateway import bounds, efforts, wire
from tollgate.gateway.model import Access, Candidate, Request, UpstreamRequest
from tollgate.gateway.neutral import Conversation, ResponseFormat, Thinking, Tool, ToolChoice
from tollgate.gateway.providers import cache_control, openai_address
from tollgate.gateway.providers.openai_chat import messages

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
_SETTINGS = (
    "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs",
    "top_logprobs", "parallel_tool_calls", "verbosity", "service_tier",
)  # fmt: skip
"""What has the same name and form here as in a conversation."""
_REASONING = "reasoning"
"""An endpoint that lists this parameter takes an effort or a budget in an object, as OpenRouter does."""
_FORMAT_NAME = "answer"
_NULL = msgspec.Raw(b"null")


def passed_request(
    request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model.

    Usage is asked for always, and output bounded by one field alone, by as much as the hold carries.
    """
    fields: dict[str, Any] = {**request.fields, "model": candidate.endpoint.upstream_model}
    _bound(fields, request, candidate, output_cap)
    if request.stream:
        options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, msgspec.Raw] | None) or {}
        fields["stream_options"] = {**options, "include_usage": True}
    return _sent(fields, request, candidate, access)


def translated_request(
    conversation: Conversation, request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The conversation as a request. What the endpoint's servers may not know is sent if its parameters list it.

    Those are marks of what to remember, thoughts and signatures, which are left out otherwise.
    """
    supported = candidate.endpoint.supported_parameters
    settings = {name: value for name in _SETTINGS if (value := getattr(conversation, name)) is not None}
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    fields = {
        "model": candidate.endpoint.upstream_model,
        "messages": list(messages.written(conversation.messages, supported)),
        **({} if limit is None else {_limit_name(candidate): limit}),
        **settings,
        **({"stop": conversation.stop} if conversation.stop else {}),
        **({"n": conversation.choices} if conversation.choices > 1 else {}),
        **_tools(conversation, supported),
        **_response_format(conversation.response_format),
        **_thinking(conversation.reasoning, supported),
        **({"stream": True, "stream_options": {"include_usage": True}} if request.stream else {}),
    }
    return _sent(fields, request, candidate, access)


def _sent(fields: Mapping[str, Any], request: Request, candidate: Candidate, access: Access) -> UpstreamRequest:
    return UpstreamRequest(
        url=openai_address.url(candidate.provider, access, "/chat/completions"),
        headers=openai_address.headers(candidate.provider, access),
        body=msgspec.json.encode(fields),
        stream=request.stream,
    )


def _bound(fields: dict[str, Any], request: Request, candidate: Candidate, output_cap: int | None) -> None:
    """Have one field alone bound the output: the client's own as it came where that will do, else the endpoint's."""
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    given = [name for name in _OUTPUT_LIMITS if fields.get(name, _NULL) != _NULL]
    will_do = limit == request.max_tokens and len(given) == 1 and _knows(candidate, given[0])
    for name in _OUTPUT_LIMITS:
        if not (will_do and name == given[0]):
            fields.pop(name, None)
    if limit is not None and not will_do:
        fields[_limit_name(candidate)] = limit


def _knows(candidate: Candidate, name: str) -> bool:
    """Whether the endpoint takes this output limit, as far as its parameters tell."""
    supported = candidate.endpoint.supported_parameters
    return name in supported or not any(other in supported for other in _OUTPUT_LIMITS)


def _limit_name(candidate: Candidate) -> str:
    """What the endpoint calls the output limit.

    Servers that imitate OpenAI all know the older name, and some ignore the newer; OpenAI's newest models refuse the
    older.
    """
    supported = [name for name in _OUTPUT_LIMITS if name in candidate.endpoint.supported_parameters]
    if supported:
        return supported[0]
    return "max_tokens" if candidate.provider.format is Format.OPENAI_COMPATIBLE else "max_completion_tokens"


def _tools(conversation: Conversation, supported: Collection[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if conversation.tools:
        fields["tools"] = [_tool(tool, supported) for tool in conversation.tools]
    if conversation.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(conversation.tool_choice)
    return fields


def _tool(tool: Tool, supported: Collection[str]) -> dict[str, Any]:
    given = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": tool.strict}
    mark = cache_control.of(tool.cache) if messages.CACHE in supported else {}
    return {"type": "function", "function": wire.given(given), **mark}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(form: ResponseFormat | None) -> dict[str, Any]:
    if form is None:
        return {}
    if form.schema is None:
        return {"response_format": {"type": "json_object"}}
    given = {"name": form.name or _FORMAT_NAME, "description": form.description, "schema": form.schema,
             "strict": form.strict}  # fmt: skip
    return {"response_format": {"type": "json_schema", "json_schema": wire.given(given)}}


def _thinking(thinking: Thinking | None, supported: Collection[str]) -> dict[str, Any]:
    """How much to think: as an object where the endpoint takes one, else as one of OpenAI's words for it."""
    if thinking is None:
        return {}
    if _REASONING in supported:
        exclude = None if thinking.shown is None else not thinking.shown
        given = {"effort": thinking.effort, "max_tokens": thinking.budget_tokens, "exclude": exclude}
        return {_REASONING: wire.given(given)}
    effort = thinking.effort
    if effort is None and thinking.budget_tokens is not None:
        effort = efforts.effort_of(thinking.budget_tokens)
    return {} if effort is None else {"reasoning_effort": effort}
