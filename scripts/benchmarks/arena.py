"""The arena: a fake provider, a load generator, and contestants in front of the one, asked by the other in turn."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks import machine, requests
from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.contestants import Contestant, NotStarted, Served
from scripts.benchmarks.generator import Generator
from scripts.benchmarks.provided import Provider, providing
from scripts.benchmarks.traffic import Borne, Load, Told

_QUESTION = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is said above?"},
    ],
    "max_tokens": 64,
}
_LIMITED_BY_SHARE = 0.9
"""Of a CPU: who takes so much of one is what a load was limited by."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A load, whoever bears it."""

    connections: int
    seconds: float
    rate: float | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds, by whom."""

    gateway: float
    database: float
    group: float
    """By whatever else the contestant started."""
    provider: float
    machine: float
    """By everybody."""
    at: float

    def since(self, before: "Spent") -> "Spent":
        return Spent(
            self.gateway - before.gateway,
            self.database - before.database,
            self.group - before.group,
            self.provider - before.provider,
            self.machine - before.machine,
            self.at - before.at,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A load that was borne, and what it took."""

    borne: Borne
    spent: Spent

    @property
    def others(self) -> float:
        """What share of one CPU was taken by whoever had no part in it."""
        ours = (self.spent.gateway, self.spent.database, self.spent.group, self.spent.provider, self.borne.cpu_seconds)
        return max(0, (self.spent.machine - sum(ours)) / self.spent.at)

    @property
    def limited_by(self) -> str:
        """Who had no more CPU to give."""
        beside = self.borne.cpu_seconds + self.spent.provider + self.spent.database + self.spent.group
        if self.spent.gateway / self.spent.at >= _LIMITED_BY_SHARE:
            return "gateway"
        if beside / (self.spent.at * len(machine.OTHER_CPUS)) >= _LIMITED_BY_SHARE:
            return "load generator, provider and database"
        return "others on this machine" if self.others > machine.BUSY_SHARE else "nobody's CPU"


@dataclass(slots=True)
class Entrant:
    """A contestant that takes part, or does not start."""

    contestant: Contestant
    served: Served | None = None
    absent: str | None = None
    """Why it does not take part."""
    told: list[Told] = field(default_factory=list)
    """What it said of everything that it answered, if that can be held against anything."""
    answered: int = 0
    failed: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    """What a reader of its figures has to know, by what it is about."""

    @property
    def name(self) -> str:
        return self.contestant.name


@dataclass(slots=True)
class Arena:
    """Everybody who takes part."""

    provider: Provider
    generator: Generator
    entrants: Sequence[Entrant]
    busiest: float = 0
    """The largest share of a CPU that others took while something was measured."""

    def measure(self, entrant: Entrant, shape: Shape) -> Measured:
        """Have an entrant bear a load."""
        served = _served(entrant)
        call = asked(served, streamed=shape.streamed)
        tells = served.group_pid is not None
        load = Load(
            [requests.address(served.base_url)], [call], shape.seconds, shape.connections, shape.rate, tells=tells
        )
        before = self._spent(served)
        borne = self.generator.bear(load)
        measured = Measured(borne, self._spent(served).since(before))
        entrant.told += borne.told
        entrant.answered += borne.answered
        entrant.failed += borne.failed
        self.busiest = max(self.busiest, measured.others)
        if borne.failed:
            entrant.notes["not answered"] = f"{entrant.failed:,} calls, such as: {borne.problems[0]}"
        return measured

    def _spent(self, served: Served) -> Spent:
        gateway = machine.cpu_seconds(served.pid) if served.pid else 0
        database = machine.cpu_seconds(served.database_pid) if served.database_pid else 0
        group = machine.cpu_seconds(served.group_pid) - gateway - database if served.group_pid else 0
        provider = machine.cpu_seconds(self.provider.pid)
        return Spent(gateway, database, group, provider, machine.busy_seconds(), time.perf_counter())

    def rounds(self, count: int) -> Iterator[list[Entrant]]:
        """Who is measured in each round, in another order each time."""
        present = [entrant for entrant in self.entrants if entrant.served is not None]
        for at in range(count):
            first = at % len(present) if present else 0
            yield [*present[first:], *present[:first]]


def _served(entrant: Entrant) -> Served:
    if entrant.served is None:
        raise ValueError(f"{entrant.name} does not take part")
    return entrant.served


@contextmanager
def open_arena(contestants: Sequence[Contestant], behaviour: Behaviour) -> Iterator[Arena]:
    """Everybody started, and ended when the block is; who does not start is absent, and says why."""
    with ExitStack() as stack:
        provider = stack.enter_context(providing(behaviour))
        generator = stack.enter_context(Generator())
        entrants = []
        for contestant in contestants:
            entrant = Entrant(contestant)
            try:
                entrant.served = stack.enter_context(contestant.running(provider.base_url, machine.GATEWAY_CPU))
            except NotStarted as reason:
                entrant.absent = str(reason)
            entrants.append(entrant)
        yield Arena(provider, generator, entrants)


def asked(served: Served, *, streamed: bool, **asking: Any) -> bytes:
    """A call of a contestant, as bytes; what is given stands in place of what is usually asked."""
    question = {"model": served.model} | _QUESTION | asking
    return requests.call(served.base_url, question, served.headers, streamed=streamed)
