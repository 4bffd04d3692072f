"""What a call may ask for because its cost can be told: by the usage object of the answer, in kinds that have prices.

What costs otherwise is refused, passed or not: nobody could say afterwards what the call was worth.
"""

from collections.abc import Mapping

import msgspec

from tollgate.gateway.protocols import envelope
from tollgate.kit.errors import InvalidRequest

_NAMELESS = "custom"
_TOOLS = (
    # Run by the client, and cost nothing but the tokens that describe them.
    "bash_", "text_editor_", "computer_", "browser_", "memory_",
    # Run by Anthropic. Searches are counted in the usage object; fetching, looking up tools, and calling the client's
    # own MCP servers cost nothing but tokens, which are counted there as well.
    "web_search_", "web_fetch_", "tool_search_tool_", "mcp_toolset",
)  # fmt: skip
"""What the types of the tools begin with whose cost is told. Others are not: code execution is charged by the hour of
its container, and an adviser's tokens, which are another model's, are in no total."""
_UNTOLD = frozenset({
    "container",  # charged by the hour
    "compaction",  # the tokens of the summary are in no total
    "fallbacks",  # another model's tokens, at another model's price
    "fallback_credit_token",  # cache writes charged as reads, which the usage object does not say
    "billing_policy",  # somebody else is charged
    "thread",  # the prompt lies at the provider, where we cannot bound it, nor tell one customer's from another's
})  # fmt: skip
REFUSED = _UNTOLD | {"context_management", "inference_geo"}
"""The fields that no call may have, or not with every value."""
_EDITS = "clear_"
"""What edits of the context begin with that only take something away. Compaction writes a summary, at its own cost."""
_EVERYWHERE = "global"
"""Where inference has the price that is published; elsewhere it costs more, and no price here knows where it was."""
_FAST = "fast"

_OBJECTS = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def check(fields: Mapping[str, msgspec.Raw]) -> None:
    """Refuse what has a cost that the usage object does not tell.

    Raises:
        InvalidRequest: the request has such a field or such a tool, or these have the wrong form.
    """
    envelope.refuse(fields, _UNTOLD, "what it costs is not told by the usage of the answer.")
    for index, tool in enumerate(envelope.field(fields, "tools", _OBJECTS) or ()):
        kind = _type(tool, f"tools[{index}].type")
        if kind is not None and kind != _NAMELESS and not kind.startswith(_TOOLS):
            _refuse(f"tools[{index}].type", kind)
    management = envelope.field(fields, "context_management", _OBJECT) or {}
    for index, edit in enumerate(envelope.field(management, "edits", _OBJECTS) or ()):
        name = f"context_management.edits[{index}].type"
        kind = _type(edit, name)
        if kind is not None and not kind.startswith(_EDITS):
            _refuse(name, kind)
    place = envelope.field(fields, "inference_geo", envelope.TEXT)
    if place not in {None, _EVERYWHERE}:
        _refuse("inference_geo", place)


def service_tier(fields: Mapping[str, msgspec.Raw]) -> str | None:
    """The service tier asked for. Fast mode is one: it has prices of its own, and the answer says if it served."""
    fast = envelope.field(fields, "speed", envelope.TEXT) == _FAST
    return _FAST if fast else envelope.field(fields, "service_tier", envelope.TEXT)


def _type(fields: Mapping[str, msgspec.Raw], name: str) -> str | None:
    return envelope.field({name: fields.get("type", envelope.NULL)}, name, envelope.TEXT)


def _refuse(name: str, value: str | None) -> None:
    raise InvalidRequest(
        f"{name}: {value!r} is not supported; what it costs is not told by the usage of the answer.", field=name
    )
