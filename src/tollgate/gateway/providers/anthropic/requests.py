"""Message requests to providers: a client's own, or a conversation that came in another format.

Wire format: https://platform.claude.com/docs/en/api/messages/create
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tollgate.gateway import bounds, signatures, wire
from tollgate.gateway.model import Access, Candidate, Request, UpstreamRequest
from tollgate.gateway.neutral import Conversation
from tollgate.gateway.providers.anthropic import contents, thinking
from tollgate.kit.errors import InvalidRequest

_VERSION = "2023-06-01"
_OUTPUT_TOKENS = 4_096
"""Asked for where nobody says how long an answer may be: this format demands a limit."""
_EFFORT = "effort"
"""What the catalogue lists as supported of an endpoint whose model takes no thinking budget."""
_TIERS: Mapping[str, str] = {
    "auto": "auto", "priority": "auto", "default": "standard_only", "standard": "standard_only",
    "standard_only": "standard_only",
}  # fmt: skip
"""Priority is what one has bought of it beforehand, and served where possible."""
_MESSAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])


def passed_request(
    request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model, bounded by the hold."""
    fields = {**request.fields, "model": wire.raw(candidate.endpoint.upstream_model)}
    if signatures.may_be_in(bytes(request.fields["messages"])):
        fields["messages"] = _without_foreign_thoughts(request.fields["messages"])
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    if limit is not None and limit != request.max_tokens:
        fields |= {"max_tokens": wire.raw(limit), **_thinking_within(limit, request.fields)}
    return _upstream(fields, request, access, request.headers)


def _without_foreign_thoughts(given: msgspec.Raw) -> msgspec.Raw:
    """The messages without thoughts that came through us from other formats: Anthropic refuses their signatures."""
    kept: list[Mapping[str, msgspec.Raw]] = []
    for message in _MESSAGES.decode(given):
        content = message.get("content", wire.raw(None))
        if not bytes(content).startswith(b"["):
            kept.append(message)
            continue
        blocks = _BLOCKS.decode(content)
        left = [block for block in blocks if not _is_foreign_thought(block)]
        if len(left) == len(blocks):
            kept.append(message)
        elif left:
            kept.append({**message, "content": wire.raw(left)})
    return wire.raw(kept)


def _is_foreign_thought(block: msgspec.Raw) -> bool:
    decoded = wire.decoded(bytes(block)) or {}
    proof = {"thinking": decoded.get("signature"), "redacted_thinking": decoded.get("data")}
    return signatures.is_marked(wire.text(proof.get(str(decoded.get("type")))) or "")


def _thinking_within(limit: int, fields: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """A thinking budget lowered with the limit that it has to stay below; no thinking, if that leaves too little."""
    given = wire.decoded(bytes(fields.get("thinking", b"null"))) or {}
    if given.get("type") != "enabled" or (wire.count(given.get("budget_tokens")) or 0) < limit:
        return {}
    lowered = {**given, "budget_tokens": limit - 1} if limit > thinking.BUDGET_LEAST else {"type": "disabled"}
    return {"thinking": wire.raw(lowered)}


def translated_request(
    conversation: Conversation, request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The conversation in this format.

    Raises:
        InvalidRequest: a setting has a value that has no form here, or contradicts another; or so does a part.
    """
    conversation = _without_ignorable(conversation, candidate)
    limit = _limit(conversation, request, candidate, output_cap)
    takes_effort = _EFFORT in candidate.endpoint.supported_parameters
    thought = thinking.fields(conversation, limit=limit, takes_effort=takes_effort)
    output = {**thought.pop("output_config", {}), **_format(conversation)}
    fields = {
        "model": candidate.endpoint.upstream_model,
        "max_tokens": limit,
        **contents.of(conversation),
        **_settings(conversation),
        **thought,
        **({"output_config": output} if output else {}),
        **({"stream": True} if request.stream else {}),
    }
    if "temperature" in fields and thought.get("thinking", {}).get("type") in {"enabled", "adaptive"}:
        # It is 1, which thinking goes without saying.
        del fields["temperature"]
    return _upstream(fields, request, access, {})


def _without_ignorable(conversation: Conversation, candidate: Candidate) -> Conversation:
    """The conversation without the sampling that the catalogue leaves out: Claude's models refuse any from 4.7 on."""
    ignored = candidate.endpoint.ignorable_parameters
    return replace(
        conversation,
        temperature=None if "temperature" in ignored else conversation.temperature,
        top_p=None if "top_p" in ignored else conversation.top_p,
        top_k=None if "top_k" in ignored else conversation.top_k,
    )


def _limit(conversation: Conversation, request: Request, candidate: Candidate, output_cap: int | None) -> int:
    """The output tokens to ask for; where the client leaves it open, what the model gives, or what answers need."""
    asked = bounds.asked_output(request, candidate.endpoint, output_cap)
    if request.max_tokens is not None and asked is not None:
        return asked
    usual = candidate.endpoint.max_output or _OUTPUT_TOKENS + (thinking.budget(conversation.reasoning) or 0)
    return usual if asked is None else min(asked, usual)


def _settings(conversation: Conversation) -> dict[str, Any]:
    if conversation.temperature is not None and not 0 <= conversation.temperature <= 1:
        raise InvalidRequest("Anthropic's models take temperatures from 0 to 1.", field="temperature")
    return wire.given({
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "top_k": conversation.top_k,
        "stop_sequences": list(conversation.stop) or None,
        "service_tier": _tier(conversation.service_tier),
    })  # fmt: skip


def _tier(name: str | None) -> str | None:
    if name is not None and name not in _TIERS:
        raise InvalidRequest(f"Anthropic has no service tier {name[:100]!r}.", field="service_tier")
    return None if name is None else _TIERS[name]


def _format(conversation: Conversation) -> dict[str, Any]:
    wanted = conversation.response_format
    if wanted is None:
        return {}
    if wanted.schema is None:
        raise InvalidRequest("Anthropic's models take a JSON schema; any JSON is no form.", field="response_format")
    return {"format": {"type": "json_schema", "schema": wanted.schema}}


def _upstream(
    fields: Mapping[str, Any], request: Request, access: Access, headers: Mapping[str, str]
) -> UpstreamRequest:
    base = access.base_url.removesuffix("/")
    credential = {} if access.credential is None else {"x-api-key": access.credential}
    return UpstreamRequest(
        url=base + ("/messages" if base.endswith("/v1") else "/v1/messages"),
        headers={"content-type": "application/json", "anthropic-version": _VERSION, **headers, **credential},
        body=msgspec.json.encode(fields),
        stream=request.stream,
    )
