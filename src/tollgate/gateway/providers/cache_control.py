"""Marks of what a provider is to remember of a prompt: Anthropic's, which OpenRouter takes in chats as well."""

from typing import Any

from tollgate.gateway.neutral import Cache

FIELD = "cache_control"


def of(cache: Cache | None) -> dict[str, Any]:
    """The field by which a part or a tool asks to be remembered, if it does."""
    if cache is None:
        return {}
    return {FIELD: {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}}
