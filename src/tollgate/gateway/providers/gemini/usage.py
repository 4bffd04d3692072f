"""Gemini's usage metadata in disjoint quantities.

Wire format: https://ai.google.dev/api/generate-content#UsageMetadata. The prompt's count holds what was cached, but not
what tools added; the candidates' count does not hold the thoughts.
"""

from collections.abc import Mapping
from typing import Any

from tollgate.gateway import partition, wire
from tollgate.gateway.model import UsageReading
from tollgate.kit.tokens import Kind, UsageQuantities

_KNOWN = frozenset({
    "promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount",
    "thoughtsTokenCount", "totalTokenCount",
})  # fmt: skip
_DETAILS = ("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails", "toolUsePromptTokensDetails")
_MODALITIES = frozenset({"TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "MODALITY_UNSPECIFIED"})
_TRAFFIC: Mapping[str, str] = {
    "ON_DEMAND": "standard", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority",
}  # fmt: skip
"""What Vertex AI calls the service tiers."""


def read_usage(usage: Mapping[str, Any]) -> UsageReading | None:
    """The usage metadata in disjoint quantities (billing-rules §1); `None` if it has neither half.

    A count that is zero may be missing. So the output's is known from the grand total, where that is told. A grand
    total that is not the sum of the others is an anomaly, and the others are billed.
    """
    prompt, total = wire.count(usage.get("promptTokenCount")), wire.count(usage.get("totalTokenCount"))
    tools = wire.count(usage.get("toolUsePromptTokenCount")) or 0
    thoughts = wire.count(usage.get("thoughtsTokenCount"))
    candidates = wire.count(usage.get("candidatesTokenCount"))
    if candidates is None and prompt is not None and total is not None:
        candidates = max(total - prompt - tools - (thoughts or 0), 0)
    if prompt is None and candidates is None:
        return None
    read, prompt_anomalous = _read(usage, None if prompt is None else prompt + tools)
    written, output_anomalous = _written(usage, candidates, thoughts or 0)
    told = None not in {prompt, candidates, total}
    contradicts = told and total != sum(read.values()) + sum(written.values())
    return UsageReading(
        quantities=UsageQuantities({**read, **written}),
        raw=usage,
        prompt_known=prompt is not None,
        completion_known=candidates is not None,
        anomalous=prompt_anomalous or output_anomalous or contradicts,
        unknown=_unknown(usage),
    )


def _read(usage: Mapping[str, Any], total: int | None) -> tuple[dict[Kind, int], bool]:
    """What was read. Sounds and pictures that came from the cache are cached, and nothing else.

    Where it is not told what the cache held, only what cannot have come from it is sound or picture.
    """
    cached = wire.count(usage.get("cachedContentTokenCount")) or 0
    given = _by_modality(usage, "promptTokensDetails")
    added = _by_modality(usage, "toolUsePromptTokensDetails")
    kept = _by_modality(usage, "cacheTokensDetails")
    uncached = {
        name: given.get(name, 0) + added.get(name, 0) - (kept.get(name, 0) if kept else cached)
        for name in ("AUDIO", "IMAGE")
    }
    parts, contradicts = partition.parted(
        total,
        Kind.PROMPT,
        {
            Kind.INPUT_CACHE_READ: cached,
            Kind.INPUT_AUDIO: max(uncached["AUDIO"], 0),
            Kind.INPUT_IMAGE: max(uncached["IMAGE"], 0),
        },
    )
    return parts, contradicts or (bool(kept) and min(uncached.values()) < 0)


def _written(usage: Mapping[str, Any], candidates: int | None, thoughts: int) -> tuple[dict[Kind, int], bool]:
    """What was written: the thoughts, which are told apart, and what was said."""
    said = _by_modality(usage, "candidatesTokensDetails")
    details = {Kind.OUTPUT_AUDIO: said.get("AUDIO"), Kind.OUTPUT_IMAGE: said.get("IMAGE")}
    parts, contradicts = partition.parted(candidates, Kind.COMPLETION, details)
    if parts and thoughts:
        parts[Kind.INTERNAL_REASONING] = thoughts
    return parts, contradicts


def _by_modality(usage: Mapping[str, Any], name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for detail in wire.objects(usage.get(name)):
        modality = (wire.text(detail.get("modality")) or "").upper()
        counts[modality] = counts.get(modality, 0) + (wire.count(detail.get("tokenCount")) or 0)
    return counts


def _unknown(usage: Mapping[str, Any]) -> tuple[str, ...]:
    """Counts of a name, or a modality, that nobody here has heard of."""
    modalities = (
        f"{name}.{modality}" for name in _DETAILS for modality, count in _by_modality(usage, name).items()
        if count and modality not in _MODALITIES
    )  # fmt: skip
    return (*wire.unknown_counts((usage, _KNOWN)), *modalities)


def merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Of two usages of one stream, which only grow, the larger of each count, and else the later of each field."""
    largest = {
        name: before[name]
        for name in before.keys() & _KNOWN
        if (wire.count(before[name]) or 0) > (wire.count(after.get(name)) or 0)
    }
    return {**before, **after, **largest}


def service_tier(usage: Mapping[str, Any]) -> str | None:
    """The service tier that served, if the usage tells."""
    tier = (wire.text(usage.get("serviceTier")) or "").lower().removeprefix("service_tier_")
    if tier and tier != "unspecified":
        return tier
    return _TRAFFIC.get(wire.text(usage.get("trafficType")) or "")
