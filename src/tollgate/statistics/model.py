"""What is known of how an endpoint has been doing, as values. What has no samples is `None`, never zero."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure is spread over its samples. Least, most and mean are exact, quantiles within the sketch's error."""

    count: int
    min: float
    max: float
    avg: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts that tell of an endpoint's health: those that were served, and those that failed for its own fault.

    What the caller asked wrongly and what was over a rate tells nothing of it and counts in neither.
    """

    ok: int = 0
    failed: int = 0

    @property
    def uptime(self) -> float | None:
        """The share of attempts that were served, from 0 to 1; `None` without any."""
        counted = self.ok + self.failed
        return self.ok / counted if counted else None


@dataclass(frozen=True, slots=True)
class HourOfUptime:
    """One hour of UTC."""

    starts_at: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class Figures:
    """One window's figures. `latency_ms` is to the first token of streamed calls, `throughput` in tokens per second."""

    latency_ms: Spread | None = None
    throughput: Spread | None = None
    """Output tokens over the whole generation time."""
    tally: Tally = Tally()


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """How one endpoint has been doing, in two windows."""

    live: Figures = Figures()
    """The last hour."""
    long: Figures = Figures()
    """The last thirty days."""
    last_day: Tally = Tally()
    hourly: tuple[HourOfUptime, ...] = ()
    """The last twenty-four hours, oldest first, this one included; hours without attempts too."""


NO_STATISTICS = EndpointStatistics()


@dataclass(frozen=True, slots=True)
class Standing:
    """What routing wants to know of an endpoint's last hour."""

    tally: Tally
    latency_ms: int | None
    """The median time to the first token."""
    throughput: int | None
    """The median tokens per second, in thousandths."""
