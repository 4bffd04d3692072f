"""Stopwatch: where one call's time went, ours and the providers'."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs from its making, in milliseconds; time spent `away` at providers is counted apart."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._away_seconds = 0.0

    @property
    def milliseconds(self) -> int:
        """Since the start."""
        return round((time.perf_counter() - self._started) * 1000)

    @property
    def overhead_text(self) -> str:
        """What we ourselves added, with two decimals."""
        return f"{(time.perf_counter() - self._started - self._away_seconds) * 1000:.2f}"

    @contextmanager
    def away(self) -> Iterator["Stopwatch"]:
        """Count the block as a provider's time; yields a watch that starts with it."""
        absence = Stopwatch()
        try:
            yield absence
        finally:
            self._away_seconds += time.perf_counter() - absence._started
