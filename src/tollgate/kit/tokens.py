"""Usage quantities: how much of each kind one call used, counted in disjoint kinds.

A provider's usage object becomes `UsageQuantities`; nothing in it is counted in two kinds, so prices can be
applied kind by kind and the kinds add up to the provider's own totals.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What can be counted and priced. Tokens unless the name says otherwise."""

    PROMPT = "prompt"
    INPUT_CACHE_READ = "input_cache_read"
    INPUT_CACHE_WRITE_5M = "input_cache_write_5m"
    INPUT_CACHE_WRITE_1H = "input_cache_write_1h"
    INPUT_CACHE_WRITE = "input_cache_write"
    INPUT_AUDIO = "input_audio"
    INPUT_IMAGE = "input_image"
    COMPLETION = "completion"
    INTERNAL_REASONING = "internal_reasoning"
    OUTPUT_AUDIO = "output_audio"
    OUTPUT_IMAGE = "output_image"
    WEB_SEARCH = "web_search"
    REQUEST = "request"
    IMAGE = "image"
    AUDIO_SECONDS = "audio_seconds"
    VIDEO_SECONDS = "video_seconds"


_PLACE = {kind: place for place, kind in enumerate(Kind)}
_NOTHING: Mapping[Kind, int] = {}

TOKEN_KINDS = frozenset(Kind) - {Kind.WEB_SEARCH, Kind.REQUEST, Kind.IMAGE, Kind.AUDIO_SECONDS, Kind.VIDEO_SECONDS}
"""The kinds measured in tokens."""

PROMPT_KINDS = frozenset(kind for kind in TOKEN_KINDS if kind is Kind.PROMPT or kind.startswith("input_"))
"""Everything the model read. Together they choose the price tier."""

COMPLETION_KINDS = TOKEN_KINDS - PROMPT_KINDS
"""Everything the model wrote."""

BASE_KIND: Mapping[Kind, Kind] = {
    Kind.INPUT_CACHE_READ: Kind.PROMPT,
    Kind.INPUT_CACHE_WRITE_5M: Kind.PROMPT,
    Kind.INPUT_CACHE_WRITE_1H: Kind.PROMPT,
    Kind.INPUT_CACHE_WRITE: Kind.PROMPT,
    Kind.INPUT_AUDIO: Kind.PROMPT,
    Kind.INPUT_IMAGE: Kind.PROMPT,
    Kind.INTERNAL_REASONING: Kind.COMPLETION,
    Kind.OUTPUT_AUDIO: Kind.COMPLETION,
    Kind.OUTPUT_IMAGE: Kind.COMPLETION,
}
"""The kind whose price applies when a sub-kind has none of its own: tokens are never free by omission."""


@dataclass(frozen=True, slots=True, init=False)
class UsageQuantities:
    """Non-negative counts of disjoint kinds; a kind that is absent was not used.

    Raises:
        ValueError: a count is negative.
    """

    counts: Mapping[Kind, int]
    prompt_tokens: int = field(compare=False, repr=False)
    """All tokens read: the tier selector, and what OpenAI calls prompt_tokens."""
    completion_tokens: int = field(compare=False, repr=False)
    """All tokens written, reasoning included: what OpenAI calls completion_tokens."""

    def __init__(self, counts: Mapping[Kind, int] = _NOTHING) -> None:
        # Added up once: every call asks for these sums a dozen times.
        read = written = 0
        for kind, count in counts.items():
            if count < 0:
                raise ValueError(f"{kind} is {count}; a count is never negative")
            if kind in PROMPT_KINDS:
                read += count
            elif kind in COMPLETION_KINDS:
                written += count
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "prompt_tokens", read)
        object.__setattr__(self, "completion_tokens", written)

    def __getitem__(self, kind: Kind) -> int:
        return self.counts.get(kind, 0)

    def __iter__(self) -> Iterator[tuple[Kind, int]]:
        """The kinds really used, in the order of `Kind`."""
        counts = self.counts
        return iter([(kind, counts[kind]) for kind in sorted(counts, key=_PLACE.__getitem__) if counts[kind]])

    def __add__(self, other: "UsageQuantities") -> "UsageQuantities":
        if not other.counts:
            return self
        sums = dict(self.counts)
        for kind, count in other.counts.items():
            sums[kind] = sums.get(kind, 0) + count
        return UsageQuantities(sums)
