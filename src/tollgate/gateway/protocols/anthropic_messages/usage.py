"""Billed quantities in Anthropic's words: the usage object of an answer that came in another format.

Wire format: https://platform.claude.com/docs/en/api/messages/create, `usage`
"""

from tollgate.kit.tokens import Kind, UsageQuantities

_READ = Kind.INPUT_CACHE_READ
_MINUTES = (Kind.INPUT_CACHE_WRITE_5M, Kind.INPUT_CACHE_WRITE)
"""Writes without a known duration count as the default one, so that the split adds up to the total."""
_HOUR = Kind.INPUT_CACHE_WRITE_1H


def told(quantities: UsageQuantities) -> dict[str, object]:
    """The usage object: input without what was read from or written to a cache, all output, searches."""
    minutes, hour = sum(quantities[kind] for kind in _MINUTES), quantities[_HOUR]
    usage: dict[str, object] = {
        "input_tokens": quantities.prompt_tokens - quantities[_READ] - minutes - hour,
        "cache_creation_input_tokens": minutes + hour,
        "cache_read_input_tokens": quantities[_READ],
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
        "output_tokens": quantities.completion_tokens,
    }
    if thoughts := quantities[Kind.INTERNAL_REASONING]:
        usage["output_tokens_details"] = {"thinking_tokens": thoughts}
    if searches := quantities[Kind.WEB_SEARCH]:
        usage["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return usage
