"""Anthropic's usage object in disjoint quantities (billing-rules §1).

Wire format: https://platform.claude.com/docs/en/api/messages/create, `usage`
"""

from collections.abc import Mapping
from typing import Any

from tollgate.gateway import partition, wire
from tollgate.gateway.model import UsageReading
from tollgate.kit.tokens import Kind, UsageQuantities

_KNOWN_USAGE = frozenset({
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation",
    "output_tokens_details", "server_tool_use", "service_tier", "inference_geo", "speed", "iterations",
})  # fmt: skip
_KNOWN_CREATION = frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"})
_KNOWN_DETAILS = frozenset({"thinking_tokens"})
_KNOWN_TOOLS = frozenset({"web_search_requests", "web_fetch_requests"})
"""Fetching costs nothing but the tokens that are fetched."""
_FAST = "fast"
_STANDARD = "standard"
_STANDARD_SPEED = "standard_only"


def merged(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Two usage objects of one stream, field by field: the larger count, else the later value that is there."""
    return {**known, **{name: _later(known.get(name), value) for name, value in said.items()}}


def _later(before: object, value: object) -> object:
    if isinstance(value, dict) and isinstance(before, dict):
        return {**before, **{name: _larger(before.get(name), inner) for name, inner in value.items()}}
    return _larger(before, value)


def _larger(before: object, value: object) -> object:
    counts = [count for count in (wire.count(before), wire.count(value)) if count is not None]
    return max(counts) if len(counts) > 1 else (before if value is None else value)


def read(usage: Mapping[str, Any], *, whole: bool) -> UsageReading | None:
    """The usage object in disjoint quantities; `None` if it has neither total.

    What a stream says at its beginning is not the `whole` of it: the output tokens told there are a placeholder, and
    servers that convert from other formats do not know their input yet and say 0. Such halves are unknown so far, and
    that is no contradiction. In what should be whole it is one.
    """
    read_tokens, contradicted = _read(usage)
    output = wire.count(usage.get("output_tokens")) if whole else None
    if read_tokens is None and wire.count(usage.get("output_tokens")) is None:
        return None
    if read_tokens is not None and not whole and not sum(read_tokens.values()):
        read_tokens = None
    details, tools = wire.mapping(usage.get("output_tokens_details")), wire.mapping(usage.get("server_tool_use"))
    written, excessive = partition.parted(
        output, Kind.COMPLETION, {Kind.INTERNAL_REASONING: wire.count(details.get("thinking_tokens"))}
    )
    searches = wire.count(tools.get("web_search_requests"))
    return UsageReading(
        quantities=UsageQuantities(
            {**(read_tokens or {}), **written, **({Kind.WEB_SEARCH: searches} if searches else {})}
        ),
        raw=usage,
        prompt_known=read_tokens is not None,
        completion_known=output is not None,
        anomalous=contradicted or (whole and (excessive or read_tokens is None)),
        unknown=_unknown(usage, details, tools),
    )


def served_tier(usage: Mapping[str, Any]) -> str | None:
    """The service tier that served, if it is told. Fast mode is one, for it has prices of its own.

    `standard` alone, without a speed, does not tell whether it was fast; `standard_only` says that it was not.
    """
    speed, tier = usage.get("speed"), wire.text(usage.get("service_tier"))
    if speed == _FAST:
        return _FAST
    return _STANDARD_SPEED if speed is not None and tier == _STANDARD else tier


def _read(usage: Mapping[str, Any]) -> tuple[dict[Kind, int] | None, bool]:
    """What was read, and whether what was written to a cache contradicts itself; `None` if there is no telling."""
    uncached = wire.count(usage.get("input_tokens"))
    if uncached is None:
        return None, False
    written, contradicted = _cache_writes(usage)
    cached = wire.count(usage.get("cache_read_input_tokens")) or 0
    return {Kind.PROMPT: uncached, Kind.INPUT_CACHE_READ: cached, **written}, contradicted


def _cache_writes(usage: Mapping[str, Any]) -> tuple[dict[Kind, int], bool]:
    """What was written to a cache, by how long it is kept, and whether the split contradicts the total.

    The total is billed, never more: of it the hour's writes, which are dearer, as far as they are told, and what is
    left as writes of five minutes, the default. An hour's writes beyond the total are not believed at all.
    """
    total, split = wire.count(usage.get("cache_creation_input_tokens")), wire.mapping(usage.get("cache_creation"))
    minutes, hour = (wire.count(split.get(f"ephemeral_{ttl}_input_tokens")) for ttl in ("5m", "1h"))
    is_split = minutes is not None or hour is not None
    told = (minutes or 0) + (hour or 0)
    writes, excessive = partition.parted(
        told if total is None else total, Kind.INPUT_CACHE_WRITE_5M, {Kind.INPUT_CACHE_WRITE_1H: hour}
    )
    return writes, excessive or (is_split and total is not None and told != total)


def _unknown(usage: Mapping[str, Any], details: Mapping[str, Any], tools: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields with counts that nobody bills.

    Iterations of the model itself are a breakdown of the totals. Others (compactions, advisers, stand-ins) used
    tokens that are in no total.
    """
    creation = wire.mapping(usage.get("cache_creation"))
    counts = wire.unknown_counts(
        (usage, _KNOWN_USAGE), (creation, _KNOWN_CREATION), (details, _KNOWN_DETAILS), (tools, _KNOWN_TOOLS)
    )
    kinds = (wire.text(each.get("type")) or "" for each in wire.objects(usage.get("iterations")))
    return (*counts, *dict.fromkeys(f"iterations.{kind}" for kind in kinds if kind != "message"))
