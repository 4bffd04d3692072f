"""The sketch: how samples are spread, in a few hundred bytes. The only door to its library, and pure.

Each value from one on is counted in a bin whose bounds are two percent apart, and zeros apart from them. So merging is
adding counts: sketches of the same samples are equal, whatever the order and the parts they came in.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import add

import msgspec
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

RELATIVE_ERROR = 0.01
"""How far from a sample the sketch's value for it can be, as a share of the sample."""

_MAPPING = LogarithmicMapping(RELATIVE_ERROR)
_WRITTEN = msgspec.msgpack.Decoder(tuple[int, int, list[int]])


class Sketch:
    """Counts of non-negative integers."""

    def __init__(self, zeros: int, lowest: int, counts: Sequence[int]) -> None:
        self._zeros = zeros
        self._lowest = lowest
        """The key of the first bin."""
        self._counts = counts
        """From there on, bin by bin; neither the first nor the last is empty."""

    @classmethod
    def of(cls, values: Iterable[int]) -> "Sketch":
        """The sketch of these values."""
        known = Counter(values)
        zeros = known.pop(0, 0)
        bins: Counter[int] = Counter()
        for value, count in known.items():
            bins[_MAPPING.key(value)] += count
        if not bins:
            return cls(zeros, 0, ())
        return cls(zeros, min(bins), [bins[key] for key in range(min(bins), max(bins) + 1)])

    @classmethod
    def merged(cls, written: Iterable[bytes]) -> "Sketch":
        """The sketch of everything that these have counted; a fast way to what the library does one by one."""
        read = [_WRITTEN.decode(each) for each in written]
        counted = [(lowest, counts) for _, lowest, counts in read if counts]
        zeros = sum(zeros for zeros, _, _ in read)
        if not counted:
            return cls(zeros, 0, ())
        first = min(lowest for lowest, _ in counted)
        totals = [0] * (max(lowest + len(counts) for lowest, counts in counted) - first)
        for lowest, counts in counted:
            begin, end = lowest - first, lowest - first + len(counts)
            totals[begin:end] = map(add, totals[begin:end], counts)
        return cls(zeros, first, totals)

    def written(self) -> bytes:
        """The sketch as bytes."""
        return msgspec.msgpack.encode((self._zeros, self._lowest, self._counts))

    def values_at(self, ranks: Iterable[int]) -> list[float]:
        """About the samples that stand at these places, the smallest at 0, each within RELATIVE_ERROR of it."""
        bins = DenseStore()
        bins.bins, bins.offset = list(self._counts), self._lowest
        return [0.0 if rank < self._zeros else _MAPPING.value(bins.key_at_rank(rank - self._zeros)) for rank in ranks]
