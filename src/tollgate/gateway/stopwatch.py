"""Stopwatch: where one call's time went, ours and the providers'."""

import time


class Stopwatch:
    """Runs from its making, in milliseconds; time spent away at providers is counted apart."""

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

    @staticmethod
    def leave() -> float:
        """Begin a provider's time, which `come_back` ends: the instant, for that."""
        return time.perf_counter()

    def come_back(self, left_at: float) -> int:
        """End it; how many milliseconds it was."""
        seconds = time.perf_counter() - left_at
        self._away_seconds += seconds
        return round(seconds * 1000)
