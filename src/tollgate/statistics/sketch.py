"""The sketch: how samples are spread, in some hundred bytes. The only door to its library, and pure.

Each value from one on is counted in a bin whose bounds are two percent apart, and zeros apart from them. So merging is
adding counts: sketches of the same samples are equal, whatever the order and the parts they came in.
"""

from collections.abc import Iterable

import msgspec
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

RELATIVE_ERROR = 0.01
"""How far from a sample the sketch's value for it can be, as a share of the sample."""

_MAPPING = LogarithmicMapping(RELATIVE_ERROR)
_LETTER = msgspec.msgpack.Decoder(tuple[int, int, list[int]])


class Sketch:
    """Counts of non-negative integers."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._zeros = 0
        self._bins = DenseStore()
        for value in values:
            if value:
                self._bins.add(_MAPPING.key(value))
            else:
                self._zeros += 1

    def merge(self, written: bytes) -> None:
        """Count what another sketch has counted."""
        zeros, lowest, counts = _LETTER.decode(written)
        self._zeros += zeros
        if counts:
            other = DenseStore()
            other.bins, other.count = list(counts), sum(counts)
            other.offset = other.min_key = lowest
            other.max_key = lowest + len(counts) - 1
            self._bins.merge(other)

    def written(self) -> bytes:
        """The sketch as bytes: the zeros, the key of the lowest bin, and the counts from there to the highest."""
        bins = self._bins
        if not bins.count:
            return msgspec.msgpack.encode((self._zeros, 0, []))
        counts = bins.bins[bins.min_key - bins.offset : bins.max_key - bins.offset + 1]
        return msgspec.msgpack.encode((self._zeros, bins.min_key, [int(count) for count in counts]))

    def value_at(self, rank: int) -> float:
        """About the sample that stands at this place, the smallest at 0, within RELATIVE_ERROR of it."""
        if rank < self._zeros:
            return 0.0
        return _MAPPING.value(self._bins.key_at_rank(rank - self._zeros))
