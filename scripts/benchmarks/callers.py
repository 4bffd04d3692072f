"""Callers who do not wait for each other: so many calls a second, each timed from the moment it was to be sent."""

from types import TracebackType
from typing import Any, NamedTuple, Self

from scripts.benchmarks import requests
from scripts.benchmarks.generator import Generator
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.traffic import Load, Streak, Told

_SECONDS_BESIDE = 60


class Called(NamedTuple):
    """A call as its caller knows it."""

    number: int
    told: Told

    @property
    def user(self) -> str:
        """Who it says is behind it: its record is found by that."""
        return _user(self.number)

    @property
    def streamed(self) -> bool:
        """Whether its answer was to stream."""
        return _streams(self.number)

    @property
    def provider(self) -> str | None:
        """Who served it, by the answer."""
        return self.told.provider

    @property
    def problem(self) -> str | None:
        """What it got instead of its answer."""
        return self.told.problem


class Callers:
    """Connections to a group that are open for as long as the block runs, and that calls take in turn."""

    def __init__(self, group: Group, model: str, *, connections: int, rate: int) -> None:
        self._group = group
        self._model = model
        self._connections = connections
        self._rate = rate
        self._made = 0
        self._generator = Generator()

    def __enter__(self) -> Self:
        self._generator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.__exit__(kind, error, trace)

    def make(self, calls: int) -> list[Called]:
        """So many calls, each when it is due; back when every one has its answer.

        Raises:
            BenchFailed: not every call could be sent.
        """
        # Calls that find no connection free are sent late, and not given up.
        return self._make(calls, 2 * calls / self._rate + _SECONDS_BESIDE, None)[0]

    def make_until(self, streak: Streak, calls_max: int, *, seconds_max: float) -> tuple[list[Called], bool]:
        """As many until there was a streak, and whether there was; raises as `make` does."""
        return self._make(calls_max, seconds_max, streak)

    def _make(self, calls: int, seconds: float, until: Streak | None) -> tuple[list[Called], bool]:
        first = self._made + 1
        borne = self._generator.bear(
            Load(
                addresses=[requests.address(self._group.base_url)],
                requests=[self._request(first + at) for at in range(calls)],
                seconds=seconds,
                connections=self._connections,
                rate=self._rate,
                calls_max=calls,
                until=until,
                keeps_connections=True,
            )
        )
        if borne.unsent:
            raise BenchFailed(f"{borne.unsent} of {borne.due} calls could not be sent: no connection became free.")
        self._made += borne.due
        return sorted(Called(first + told.request, told) for told in borne.told), borne.has_streak

    def _request(self, number: int) -> bytes:
        question: dict[str, Any] = {
            "model": self._model,
            # The provider reads it in the prompt, the ledger has it as who is behind the call.
            "messages": [{"role": "user", "content": _user(number)}],
            "user": _user(number),
            "max_tokens": 64,
        }
        headers = {"authorization": f"Bearer {self._group.inference_key}"}
        return requests.call(self._group.base_url, question, headers, streamed=_streams(number))


def _user(number: int) -> str:
    return f"call {number}"


def _streams(number: int) -> bool:
    """Every other call does."""
    return number % 2 == 0
