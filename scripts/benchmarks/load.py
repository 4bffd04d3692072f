"""A load of many tenants' sandbox calls: a fixed number of connections, each with always one call in flight."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

from scripts.benchmarks import requests, traffic
from scripts.benchmarks.generator import Generator
from scripts.benchmarks.group import BenchFailed, Group

from tollgate.kit.ids import CallId, KeyId, OrganizationId

_QUESTION = {
    "model": "sandbox/echo",
    "messages": [{"role": "user", "content": "What is said above?"}],
    "max_tokens": 16,
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with credit and one inference key."""

    organization_id: OrganizationId
    key_id: KeyId
    key_text: str


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of these tenants in turn, for so long, and no more than so many."""

    tenants: Sequence[Tenant]
    seconds: float
    calls_max: int


class Answered(NamedTuple):
    """A call as its caller knows it."""

    organization_id: OrganizationId
    call_id: CallId
    cost: Decimal


@dataclass(slots=True)
class Half:
    """What became of a load: its calls, how long each took, and how long they took together."""

    calls: list[Answered] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0
    cpu_seconds: float = 0
    """What the processes took that admitted and settled them."""
    database_cpu_seconds: float = 0
    generator_cpu_seconds: float = 0

    @property
    def calls_per_second(self) -> float:
        """How many were answered each second."""
        return len(self.calls) / self.seconds


class Turnstile:
    """Whose call comes next, until it is enough of a load."""

    def __init__(self, load: Load) -> None:
        self._tenants: Iterator[Tenant] = cycle(load.tenants)
        self._calls_left = load.calls_max
        self._deadline = time.perf_counter() + load.seconds

    def next(self) -> Tenant | None:
        """The next call's tenant; `None` when it is enough."""
        if self._calls_left <= 0 or time.perf_counter() > self._deadline:
            return None
        self._calls_left -= 1
        return next(self._tenants)


class Clients:
    """Connections to groups that are open for as long as the block runs: every load goes over the same ones."""

    def __init__(self, groups: Sequence[Group], *, connections: int) -> None:
        self._groups = groups
        self._connections = connections
        self._generator = Generator()

    def __enter__(self) -> Self:
        self._generator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.__exit__(kind, error, trace)

    def bear(self, load: Load) -> Half:
        """Make the calls of a load.

        Raises:
            BenchFailed: one was not answered as it should be.
        """
        borne = self._generator.bear(
            traffic.Load(
                addresses=[requests.address(group.base_url) for group in self._groups],
                requests=[self._request(tenant) for tenant in load.tenants],
                seconds=load.seconds,
                connections=self._connections,
                calls_max=load.calls_max,
                keeps_connections=True,
            )
        )
        if borne.failed:
            raise BenchFailed(f"{borne.failed} calls were not answered, such as: {borne.problems[0]}")
        answered = [_read(told, load.tenants[told.request]) for told in borne.told]
        return Half(answered, borne.milliseconds, borne.seconds, generator_cpu_seconds=borne.cpu_seconds)

    def _request(self, tenant: Tenant) -> bytes:
        return requests.call(self._groups[0].base_url, _QUESTION, {"authorization": f"Bearer {tenant.key_text}"})


def _read(told: traffic.Told, tenant: Tenant) -> Answered:
    if told.generation_id is None or told.cost is None:
        raise BenchFailed(f"An answer does not say what it cost: {told}")
    return Answered(tenant.organization_id, CallId(UUID(told.generation_id)), Decimal(told.cost))
