"""What a load generator is told to do, and what it tells afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Streak(NamedTuple):
    """So many answers in a row that one provider gave."""

    provider: str
    answers: int


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to make."""

    addresses: Sequence[tuple[str, int]]
    """Connections are spread evenly over them."""
    requests: Sequence[bytes]
    """In turn."""
    seconds: float
    """After so many, nothing more is sent."""
    connections: int
    rate: float | None = None
    """Calls a second; without one, each connection asks again once it has its answer."""
    calls_max: int | None = None
    until: Streak | None = None
    """It is enough as soon as there was one."""
    keeps_connections: bool = False
    """Whether the next load of as many connections to the same addresses is to go over the same ones."""
    tells: bool = True
    """Whether what each answer said is to be told."""


class Told(NamedTuple):
    """What an answer said of itself."""

    request: int
    """Which of the load's requests it answers."""
    due: float
    """When it was to be sent, in seconds of `time.perf_counter`."""
    milliseconds: float
    """From then until its answer was there to the last byte."""
    generation_id: str | None = None
    upstream_id: str | None = None
    provider: str | None = None
    cost: str | None = None
    problem: str | None = None
    """What came instead of an answer."""


@dataclass(slots=True)
class Borne:
    """What became of a load."""

    answered: int = 0
    failed: int = 0
    milliseconds: list[float] = field(default_factory=list)
    """Of each answer, from when its call was due to its last byte."""
    first_ms: list[float] = field(default_factory=list)
    """Of each stream, to its first event."""
    gap_ms: list[float] = field(default_factory=list)
    """Of each stream, the longest between two pieces of it."""
    events: int = 0
    told: list[Told] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """The first of what came instead of answers."""
    has_streak: bool = False
    """Whether there was one that it was to end with."""
    due: int = 0
    """How many calls were to be sent, at a rate."""
    unsent: int = 0
    """How many of them were not when the time was over, because no connection was free."""
    late_ms: list[float] = field(default_factory=list)
    """How late calls were sent for which a connection was free: the generator's own fault."""
    seconds: float = 0
    cpu_seconds: float = 0

    @property
    def calls_per_second(self) -> float:
        """How many were answered each second."""
        return self.answered / self.seconds

    @property
    def events_per_second(self) -> float:
        """How many events of streams came each second."""
        return self.events / self.seconds
