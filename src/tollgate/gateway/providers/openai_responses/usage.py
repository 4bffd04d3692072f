"""Usage of a response: the provider's object in disjoint quantities.

Wire format: https://platform.openai.com/docs/api-reference/responses/object#responses-object-usage
"""

from collections.abc import Mapping
from typing import Any

from tollgate.gateway import partition, wire
from tollgate.gateway.model import UsageReading
from tollgate.kit.tokens import Kind, UsageQuantities

_KNOWN = frozenset({
    "cost", "cost_details", "input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details",
    "total_tokens",
})  # fmt: skip
_KNOWN_INPUT = frozenset({"cached_tokens", "cache_write_tokens", "cache_write_tokens_details"})
_KNOWN_OUTPUT = frozenset({"reasoning_tokens"})


def of_response(response: Mapping[str, Any], searches_seen: int = 0) -> UsageReading | None:
    """What a response used, as far as it is told; web searches were seen even where no tokens are told.

    OpenAI counts the searches it bills, where it says so; else those are counted that the output lists.
    """
    tools = wire.mapping(response.get("tool_usage"))
    told = wire.count(wire.mapping(tools.get("web_search")).get("num_requests"))
    listed = sum(map(is_search, wire.objects(response.get("output"))))
    searches = max(listed, searches_seen) if told is None else told
    drawn = wire.mapping(tools.get("image_gen"))
    unknown = ("tool_usage.image_gen",) if wire.count(drawn.get("total_tokens")) else ()
    return read(wire.mapping(response.get("usage")), searches, unknown)


def is_search(item: Mapping[str, Any]) -> bool:
    """Whether an output item is a search, and not the opening of a page found before."""
    return item.get("type") == "web_search_call" and wire.mapping(item.get("action")).get("type") == "search"


def read(usage: Mapping[str, Any], searches: int = 0, unknown: tuple[str, ...] = ()) -> UsageReading | None:
    """The usage object in disjoint quantities (billing-rules §1); `None` if it tells nothing.

    Details that exceed their total leave nothing to subtract from: the reading is anomalous, and the provider's total
    is billed, not more. So is one of which a total is missing: that half is unknown, not zero.
    """
    read_total, written_total = wire.count(usage.get("input_tokens")), wire.count(usage.get("output_tokens"))
    if read_total is None and written_total is None and not searches:
        return None
    read_details = wire.mapping(usage.get("input_tokens_details"))
    written_details = wire.mapping(usage.get("output_tokens_details"))
    prompt, prompt_anomalous = partition.parted(
        read_total,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: wire.count(read_details.get("cached_tokens")),
            Kind.INPUT_CACHE_WRITE: wire.count(read_details.get("cache_write_tokens")),
        },
    )
    written, written_anomalous = partition.parted(
        written_total,
        Kind.COMPLETION,
        {Kind.INTERNAL_REASONING: wire.count(written_details.get("reasoning_tokens"))},
    )
    return UsageReading(
        quantities=UsageQuantities({**prompt, **written, **({Kind.WEB_SEARCH: searches} if searches else {})}),
        raw=usage,
        prompt_known=read_total is not None,
        completion_known=written_total is not None,
        anomalous=bool(usage) and (prompt_anomalous or written_anomalous),
        unknown=unknown
        + wire.unknown_counts((usage, _KNOWN), (read_details, _KNOWN_INPUT), (written_details, _KNOWN_OUTPUT)),
    )
