"""Conversations as generateContent requests.

Wire format: https://ai.google.dev/api/generate-content
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from tollgate.gateway import bounds, wire
from tollgate.gateway.model import Access, Candidate, Request, UpstreamRequest
from tollgate.gateway.neutral import Conversation, ResponseFormat, Thinking, Tool, ToolChoice
from tollgate.gateway.providers.gemini import contents

_COLLECTIONS = ("models/", "tunedModels/")
_SIGNING = re.compile(r"gemini-(?:[3-9]|[1-9]\d)")
"""Gemini 3 and later: https://ai.google.dev/gemini-api/docs/thought-signatures."""
_BUDGETS: Mapping[str, int] = {
    "none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576,
}  # fmt: skip
"""By Google's own table: https://ai.google.dev/gemini-api/docs/openai#thinking. Beyond it, the most all models take.

Gemini 3 has levels as well, but not the same ones in each model; budgets it takes too.
"""
_MODES: Mapping[str, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_TIERS: Mapping[str, str | None] = {"auto": None, "default": "standard", "standard_only": "standard"}
_SEED_MASK = 2**31 - 1


def translated_request(
    conversation: Conversation, request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request of a client who speaks another format; the conversation uses nothing beyond `EXPRESSES`."""
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    credential = {} if access.credential is None else {"x-goog-api-key": access.credential}
    return UpstreamRequest(
        url=_url(access, candidate.endpoint.upstream_model, stream=request.stream),
        headers={**credential, "content-type": "application/json"},
        body=msgspec.json.encode(_body(conversation, candidate.endpoint.upstream_model, limit)),
        stream=request.stream,
    )


def _url(access: Access, upstream_model: str, *, stream: bool) -> str:
    """The model's own address. Without `alt=sse` a stream would be one JSON array."""
    name = upstream_model if upstream_model.startswith(_COLLECTIONS) else f"models/{upstream_model}"
    collection, _, model = name.partition("/")
    operation = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"{access.base_url}/{collection}/{quote(model, safe='')}:{operation}"


def _body(conversation: Conversation, upstream_model: str, limit: int | None) -> dict[str, Any]:
    instructions = contents.instructions(conversation.messages)
    turns = contents.contents(conversation.messages, signs=_SIGNING.search(upstream_model) is not None)
    # Instructions alone are no request to Gemini: who has nothing else to say says them.
    turns, instructions = (turns, instructions) if turns else ([{"role": "user", "parts": instructions}], [])
    declarations = [_declaration(tool) for tool in conversation.tools]
    tier = conversation.service_tier
    return wire.given({
        "contents": turns,
        "systemInstruction": {"parts": instructions} if instructions else None,
        "tools": [{"functionDeclarations": declarations}] if declarations else None,
        "toolConfig": _tool_config(conversation.tool_choice) if declarations else None,
        "generationConfig": _settings(conversation, limit) or None,
        "serviceTier": None if tier is None else _TIERS.get(tier, tier),
    })  # fmt: skip


def _declaration(tool: Tool) -> dict[str, Any]:
    return wire.given({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema})


def _tool_config(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    names = [choice.name] if choice.mode == "named" else None
    return {"functionCallingConfig": wire.given({"mode": _MODES.get(choice.mode), "allowedFunctionNames": names})}


def _settings(conversation: Conversation, limit: int | None) -> dict[str, Any]:
    seed = conversation.seed
    return wire.given({
        "maxOutputTokens": limit,
        "temperature": conversation.temperature,
        "topP": conversation.top_p,
        "topK": conversation.top_k,
        "stopSequences": list(conversation.stop) or None,
        "candidateCount": conversation.choices if conversation.choices > 1 else None,
        "presencePenalty": conversation.presence_penalty,
        "frequencyPenalty": conversation.frequency_penalty,
        # Others take seeds of 64 bits.
        "seed": None if seed is None else seed & _SEED_MASK,
        "responseLogprobs": conversation.logprobs,
        "logprobs": conversation.top_logprobs if conversation.logprobs else None,
        **_form(conversation.response_format),
        "thinkingConfig": _thinking(conversation.reasoning),
    })  # fmt: skip


def _form(form: ResponseFormat | None) -> dict[str, Any]:
    return {} if form is None else {"responseMimeType": "application/json", "responseJsonSchema": form.schema}


def _thinking(thinking: Thinking | None) -> dict[str, Any] | None:
    if thinking is None:
        return None
    budget = thinking.budget_tokens
    if budget is None and thinking.effort is not None:
        budget = _BUDGETS.get(thinking.effort)
    return wire.given({"thinkingBudget": budget, "includeThoughts": thinking.shown}) or None
