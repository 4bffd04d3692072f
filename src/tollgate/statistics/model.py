"""What is known of how an endpoint has been doing, as values. What has no samples is `None`, never zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from tollgate.kit.ids import EndpointId


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


class Grain(IntEnum):
    """How long a stretch of time one bucket is for, in minutes. Stretches are of UTC, and each is part of the next."""

    FIVE_MINUTES = 5
    HOUR = 60
    DAY = 1440


class Slot(NamedTuple):
    """What one bucket is of: an endpoint's attempts that began in one stretch of time."""

    endpoint_id: EndpointId
    grain: Grain
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """What batches of settlements left of one endpoint's attempts that began in the same five minutes."""

    endpoint_id: EndpointId
    starts_at: datetime
    tally: Tally
    latencies_ms: tuple[int, ...]
    throughputs: tuple[int, ...]
    """In thousandths of a token per second."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All samples of one measure, at least one. Everything but the quantiles in the sketches is exact."""

    count: int
    sum: int
    min: int
    max: int
    sketches: tuple[bytes, ...]
    """As `sketch.Sketch` writes them: each is of some of the samples, none of one that is in another."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a stretch of time; a measure without samples is `None`."""

    tally: Tally = Tally()
    latency: Measured | None = None
    """In milliseconds."""
    throughput: Measured | None = None
    """In thousandths of a token per second."""


Buckets = dict[Slot, Observed]


@dataclass(frozen=True, slots=True)
class Known:
    """What the buckets tell of one endpoint in each window."""

    live: Observed = Observed()
    long: Observed = Observed()
    hours: Mapping[datetime, Tally] = field(default_factory=dict)
    """By their beginnings, those of the last day that have buckets."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Where the windows of one moment begin; none of them has an end."""

    live: datetime
    """The beginning of the five minutes an hour ago."""
    long: datetime
    """The beginning of the hour thirty days ago."""
    days: datetime
    """The first midnight in the long window: from there on it is made of days, up to there of hours."""
    day: datetime
    """The beginning of the first of the last twenty-four hours, this one included."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be folded; it is in every figure all the same."""

    samples: int
    """How many rows: one for each endpoint of a batch of settlements."""
    oldest_at: datetime | None
    """When the calls of the oldest of them were recorded."""
