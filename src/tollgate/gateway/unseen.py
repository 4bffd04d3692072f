"""Unseen: what of a call only its provider can count: thoughts it hides, searches it runs, files it fetches. Pure.

Our own count stands in for a provider's where a caller hangs up. Where it cannot, the provider is read to its usage
instead of being stopped; or whatever is billed at the end would be free for who leaves before it.
"""

import msgspec
from msgspec import structs

from tollgate.catalog.model import Endpoint
from tollgate.gateway.model import Request, Wire
from tollgate.gateway.wire import UNREADABLE

SEARCHES_UNLESS_TOLD = 10
"""How often a provider may search in one call if the caller does not say; more is marked as an overrun."""

_HIDING = ("reasoning", "reasoning_effort", "thinking", "include", "modalities", "audio")
"""Fields by which a caller asks for output that is not shown as text, or not at all."""
_NOTABLE = frozenset({*_HIDING, "tools", "mcp_servers"})
"""A request without any of these hides nothing."""
_SHOWING = frozenset({b"null", b'"none"', b"[]", b'["text"]', b'{"type":"disabled"}', b'{"effort":"none"}'})
"""What they say where they ask for none of it."""
_THINKING = frozenset({"reasoning", "reasoning_effort", "include_reasoning", "thinking", "effort"})
"""How the catalogue says that a model thinks, asked or not."""
_RUN_BY_PROVIDER = ("web_", "mcp")
"""How the names of tools begin that a provider uses itself, among those that are let in."""


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool] | None)


def noted(request: Request) -> Request:
    """The request, with what it has its provider do unseen."""
    if _NOTABLE.isdisjoint(request.fields):
        return request
    run = [tool for tool in _tools(request) if _is_run_by_provider(tool)]
    searching = [tool for tool in run if "search" in (tool.type or "")]
    fetches = bool(run) or "mcp_servers" in request.fields
    hides = fetches or any(_says(request, name) for name in _HIDING)
    if not hides:
        return request
    return structs.replace(
        request,
        prompt=structs.replace(request.prompt, elsewhere=request.prompt.elsewhere or fetches),
        searches=sum(max(SEARCHES_UNLESS_TOLD if tool.max_uses is None else tool.max_uses, 0) for tool in searching),
        hides=True,
    )


def is_counted_by_provider_alone(request: Request, endpoint: Endpoint) -> bool:
    """Whether our own count cannot stand in for the provider's. Anthropic's format tells the prompt's at once."""
    prompt = request.prompt
    unknown_prompt = request.wire is not Wire.MESSAGES and (prompt.elsewhere or bool(prompt.blobs))
    return request.hides or unknown_prompt or not _THINKING.isdisjoint(endpoint.supported_parameters)


def may_stop(request: Request, endpoint: Endpoint) -> bool:
    """Whether to stop the provider when its client has left: it stops charging, and we can count what it has done."""
    return endpoint.supports_cancel and not is_counted_by_provider_alone(request, endpoint)


def _tools(request: Request) -> list[_Tool]:
    given = request.fields.get("tools")
    try:
        return [] if given is None else _TOOLS.decode(given) or []
    except UNREADABLE:
        return []


def _is_run_by_provider(tool: _Tool) -> bool:
    """Whether the provider itself uses the tool; what else it might is not let in: see `metered` of each format."""
    return tool.type is not None and tool.type.startswith(_RUN_BY_PROVIDER)


def _says(request: Request, name: str) -> bool:
    given = request.fields.get(name)
    return given is not None and b"".join(bytes(given).split()) not in _SHOWING
