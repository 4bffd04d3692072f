"""Requests for responses, as providers take them: a client's own, or a conversation in another format.

Wire format: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tollgate.gateway import bounds, efforts, signatures, wire
from tollgate.gateway.model import Access, Candidate, Request, UpstreamRequest
from tollgate.gateway.neutral import Conversation, ResponseFormat, Thinking, Tool, ToolChoice
from tollgate.gateway.providers import openai_address
from tollgate.gateway.providers.openai_responses import items

_LIMIT = "max_output_tokens"
_NULL = msgspec.Raw(b"null")
_STANDARD_TIERS = frozenset({"standard", "standard_only", "on_demand"})
"""Others' names of the tier that is `default` here."""
_INPUT = msgspec.json.Decoder(list[msgspec.Raw])


def passed_request(
    request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model.

    Unless the client says otherwise, the provider is asked not to store the response, which it would by default:
    nothing here can read it back, and it would outlive what the catalogue promises of the endpoint's data.
    """
    fields = {name: value for name, value in request.fields.items() if name != _LIMIT}
    if fields.get("store", _NULL) == _NULL:
        fields["store"] = wire.raw(False)  # noqa: FBT003 - a JSON value
    if signatures.may_be_in(bytes(fields.get("input", _NULL))):
        fields["input"] = _without_foreign_thoughts(fields["input"])
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    if limit is not None:
        fields[_LIMIT] = request.fields[_LIMIT] if limit == request.max_tokens else wire.raw(limit)
    return _sent(fields, request, candidate, access)


def _without_foreign_thoughts(given: msgspec.Raw) -> msgspec.Raw:
    """The input without thoughts that came through us from other formats: OpenAI knows neither ids nor signatures."""
    if not bytes(given).startswith(b"["):
        return given
    kept = [item for item in _INPUT.decode(given) if not _is_foreign_thought(item)]
    return msgspec.Raw(msgspec.json.encode(kept))


def _is_foreign_thought(item: msgspec.Raw) -> bool:
    decoded = wire.decoded(bytes(item)) or {}
    if decoded.get("type") != "reasoning":
        return False
    identifier, encrypted = wire.text(decoded.get("id")) or "", wire.text(decoded.get("encrypted_content")) or ""
    return identifier.startswith(signatures.FOREIGN_THOUGHT) or signatures.is_marked(encrypted)


def translated_request(
    conversation: Conversation, request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request of a client who speaks another format; its response is stored nowhere."""
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    tier = conversation.service_tier
    settings: dict[str, Any] = {
        "tools": [_tool(tool) for tool in conversation.tools] or None,
        "tool_choice": _tool_choice(conversation.tool_choice),
        "parallel_tool_calls": conversation.parallel_tool_calls,
        _LIMIT: limit,
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "top_logprobs": conversation.top_logprobs,
        "text": _text(conversation) or None,
        "reasoning": _reasoning(conversation.reasoning),
        "service_tier": "default" if tier in _STANDARD_TIERS else tier,
        "include": list(_included(conversation)) or None,
        "stream": request.stream or None,
    }
    fields = {
        "input": list(items.written(conversation.messages)),
        **wire.given(settings),
        "store": False,
    }
    return _sent(fields, request, candidate, access)


def _sent(fields: Mapping[str, Any], request: Request, candidate: Candidate, access: Access) -> UpstreamRequest:
    return UpstreamRequest(
        url=openai_address.url(candidate.provider, access, "/responses"),
        headers=openai_address.headers(candidate.provider, access),
        body=msgspec.json.encode({**fields, "model": candidate.endpoint.upstream_model}),
        stream=request.stream,
    )


def _tool(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    # Silence means strict here, and not strict in every other format.
    strict = tool.strict is True
    return {"type": "function", "name": tool.name, **described, "parameters": tool.schema, "strict": strict}


def _tool_choice(choice: ToolChoice | None) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    return {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode


def _text(conversation: Conversation) -> dict[str, Any]:
    verbosity = {} if conversation.verbosity is None else {"verbosity": conversation.verbosity}
    wanted = conversation.response_format
    return verbosity if wanted is None else {"format": _format(wanted), **verbosity}


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    optional = wire.given({"description": wanted.description, "strict": wanted.strict})
    return {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema, **optional}


def _reasoning(wanted: Thinking | None) -> dict[str, Any] | None:
    """How much to think; there is no budget here, only an effort."""
    if wanted is None:
        return None
    effort, budget = wanted.effort, wanted.budget_tokens
    if effort is None and budget is not None:
        effort = efforts.effort_of(budget)
    return wire.given({"effort": effort, "summary": "auto" if wanted.shown else None})


def _included(conversation: Conversation) -> Iterator[str]:
    """What has to be asked for: likelihoods, and the thoughts, which the client has to bring back as nothing is stored.

    Models that do not think refuse to be asked for them.
    """
    if conversation.logprobs:
        yield "message.output_text.logprobs"
    wanted = conversation.reasoning
    if wanted is not None and not wanted.is_off:
        yield "reasoning.encrypted_content"
