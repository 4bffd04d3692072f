"""What a call may ask for: nothing whose cost has no bound or is not told, and nothing that tenants would share.

Responses are made under the installation's own account at the provider. What is stored there belongs to all of its
tenants, and tools that run there may cost more than the usage in the answer says.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_responses.reading import read
from tollgate.kit.errors import InvalidRequest

_UNBOUNDED = envelope.UNBOUNDED | {"max_completion_tokens", "max_tokens", "n"}
_STORED = frozenset({"conversation", "previous_response_id", "prompt"})
_COMPACTED = frozenset({"context_management"})
REFUSED = _UNBOUNDED | _STORED | _COMPACTED
"""The fields that no call may have, unless they ask for nothing."""
_METERED_TOOLS = frozenset({
    # The client runs these itself.
    "apply_patch", "computer", "computer_use_preview", "custom", "function", "local_shell",
    # These cost the tokens that the usage counts.
    "mcp", "tool_search",
    # The answer lists its searches.
    "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
})  # fmt: skip
_GROUPED_TOOLS = frozenset({"custom", "function"})
_TOOLS_WITHIN = frozenset({"additional_tools", "tool_search_output"})
"""The items that bring tools of their own."""

_TOOLS = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)
_TYPE = msgspec.json.Decoder(str | None)


class _Environment(msgspec.Struct):
    type: str | None = None


_ENVIRONMENT = msgspec.json.Decoder(_Environment | None)


def check_settings(fields: Mapping[str, msgspec.Raw]) -> None:
    """Raise `InvalidRequest` for the first field that asks for what could not be bounded, or for stored state."""
    envelope.refuse(fields, _UNBOUNDED, "bound the answer by max_output_tokens.")
    envelope.refuse(fields, _STORED, "nothing is stored between calls; send the whole conversation as input.")
    envelope.refuse_asked(
        fields, _COMPACTED, "what a summary of the input costs is not told by the usage of the answer."
    )
    if envelope.field(fields, "background", envelope.FLAG):
        raise InvalidRequest("background is not supported; wait for the response, or stream it.", field="background")


def check_tools(fields: Mapping[str, msgspec.Raw], items: Sequence[Mapping[str, msgspec.Raw]]) -> None:
    """Raise `InvalidRequest` for the first tool whose cost would not be told, and for items that are stored."""
    _check(envelope.field(fields, "tools", _TOOLS) or (), "tools")
    for number, item in enumerate(items):
        where = f"input[{number}]"
        kind = read(item.get("type", envelope.NULL), _TYPE, f"{where}.type")
        if kind == "item_reference" or (kind is None and "role" not in item):
            raise InvalidRequest(f"{where}: nothing is stored to refer to; send the item itself.", field=where)
        if kind in _TOOLS_WITHIN:
            _check(read(item.get("tools", envelope.NULL), _TOOLS, f"{where}.tools") or (), f"{where}.tools")


def _check(tools: Iterable[Mapping[str, msgspec.Raw]], where: str) -> None:
    for number, tool in enumerate(tools):
        place = f"{where}[{number}]"
        kind = read(tool.get("type", envelope.NULL), _TYPE, f"{place}.type")
        if kind == "namespace":
            grouped = read(tool.get("tools", envelope.NULL), _TOOLS, f"{place}.tools") or ()
            kinds = {read(each.get("type", envelope.NULL), _TYPE, f"{place}.tools") for each in grouped}
            told = kinds <= _GROUPED_TOOLS
        elif kind == "shell":
            environment = read(tool.get("environment", envelope.NULL), _ENVIRONMENT, f"{place}.environment")
            told = environment is not None and environment.type == "local"
        else:
            told = kind in _METERED_TOOLS
        if not told:
            name = "a tool without a type" if kind is None else kind[:100]
            raise InvalidRequest(
                f"{place}: {name} is not supported; an answer does not tell what it cost.", field=f"{place}.type"
            )
