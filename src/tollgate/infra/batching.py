"""Batching: calls that arrive together make one round trip together.

A batch leaves at once if none is under way; what arrives while one is forms the next. So a lone caller waits for
nothing, and batches grow with load by themselves. One at a time, for two that share the load cost more than one that
carries it all, and one that waits for a slow disk would make the other wait for it as well. How soon they follow each
other, and when one is overdue, is their pace.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, NamedTuple, TypeVar, cast

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_FLIGHTS_MAX = 2
"""With those that are overdue."""


class NoAnswerInTime(TimeoutError):
    """An item had no answer when its submitter's patience ended. It may have left all the same."""


class _Passenger(NamedTuple, Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    at: float
    """When it came, by the clock of the loop."""


@dataclass(frozen=True, slots=True)
class Patience(Generic[Item, Answer]):
    """How long submitters wait, and what becomes of the items of those that have gone, or were cancelled."""

    seconds: float
    unclaimed: Callable[[Item, Answer | None], None] | None = None
    """If given, an item whose submitter has gone does not leave any more; and this is told the answer of one that had
    left before, `None` if its flight failed. Otherwise items travel whether somebody waits for them or not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How batches follow each other. The answer to a lone item is back before it would matter."""

    interval_ms: int
    """How long after one left the next may leave: where items come faster than batches pay, they wait to be more."""
    overdue_ms: int
    """After that long, one that is under way because somebody has what it needs locked is overtaken by the next."""
    overtaken: Callable[[], None]
    """Is told when one is."""


class Batcher(Generic[Item, Answer]):
    """Hands items to `flush` in batches and gives each submitter the answer at its own position.

    `flush` answers every item of its batch, in order. An exception of `flush` reaches everyone in its batch. A
    submitter that is cancelled takes nothing back, unless there is somebody for what is unclaimed.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        size_max: int,
        patience: Patience[Item, Answer] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._flush = flush
        self._size_max = size_max
        self._patience = patience
        self._pace = pace
        self._unclaimed = None if patience is None else patience.unclaimed
        self._waiting: list[_Passenger[Item, Answer]] = []
        self._flights: dict[asyncio.Task[Sequence[Answer]], list[_Passenger[Item, Answer]]] = {}
        self._due: asyncio.Task[Sequence[Answer]] | None = None
        """The flight that the next one waits for: the last, unless it is overdue."""
        self._overdue: asyncio.TimerHandle | None = None
        self._departure: asyncio.TimerHandle | None = None
        self._left_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        # Asked for once: to ask for it costs a system call.
        self._running: asyncio.AbstractEventLoop | None = None

    @property
    def unanswered(self) -> int:
        """How many items wait for their answer."""
        waiting = self._waiting if self._unclaimed is None else _claimed(self._waiting)
        return len(waiting) + sum(map(len, self._flights.values()))

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Put the item on the next batch; the future holds its answer, or NoAnswerInTime.

        Cancelling the future, or the task that waits for it, is how a submitter goes.
        """
        loop = self._loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Passenger(item, answer, loop.time()))
        if self._due is None:
            self._depart()
        if self._timer is None and self._patience is not None:
            self._timer = loop.call_later(self._patience.seconds, self._lose_patience, self._patience.seconds)
        return answer

    async def drained(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._waiting or self._flights:
            if self._flights:
                await asyncio.wait(self._flights)
            else:
                await asyncio.sleep(0)

    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._running is None:
            self._running = asyncio.get_running_loop()
        return self._running

    def _depart(self) -> None:
        """Let the next batch leave, as soon as its pace has it."""
        if self._departure is not None or len(self._flights) == _FLIGHTS_MAX:
            return
        if self._pace is not None:
            early = self._left_at + self._pace.interval_ms / 1000 - self._loop().time()
            if early > 0:
                self._departure = self._loop().call_later(early, self._leave)
                return
        self._leave()

    def _leave(self) -> None:
        loop, self._departure = self._loop(), None
        batch: list[_Passenger[Item, Answer]] = []
        self._due = flight = loop.create_task(self._fly(batch))
        self._flights[flight] = batch
        if self._pace is not None:
            self._left_at = loop.time()
            self._overdue = loop.call_later(self._pace.overdue_ms / 1000, self._overtake, self._pace)
        flight.add_done_callback(self._land)

    async def _fly(self, batch: list[_Passenger[Item, Answer]]) -> Sequence[Answer]:
        # This is one turn of the loop later, so that everything that one brought in goes along.
        if self._unclaimed is not None:
            self._waiting = _claimed(self._waiting)
        batch += self._waiting[: self._size_max]
        del self._waiting[: self._size_max]
        if not batch:
            return []
        answers = await self._flush([passenger.item for passenger in batch])
        if len(answers) != len(batch):
            raise RuntimeError(f"a batch of {len(batch)} got {len(answers)} answers")
        return answers

    def _overtake(self, pace: Pace) -> None:
        """What is under way is overdue: wait for it no longer."""
        self._due = None
        pace.overtaken()
        if self._waiting:
            self._depart()

    def _land(self, flight: "asyncio.Task[Sequence[Answer]]") -> None:
        batch = self._flights.pop(flight)
        if self._due is flight:
            self._due = None
            if self._overdue is not None:
                self._overdue.cancel()
        error = None if flight.cancelled() else flight.exception()
        has_answers = error is None and not flight.cancelled()
        answers: Sequence[Answer | None] = flight.result() if has_answers else [None] * len(batch)
        for (item, future, _), answer in zip(batch, answers, strict=True):
            if future.done():
                if self._unclaimed is not None:
                    self._unclaimed(item, answer)
            elif has_answers:
                future.set_result(cast("Answer", answer))
            elif error is not None:
                future.set_exception(error)
            else:
                future.cancel()
        if self._waiting and self._due is None:
            self._depart()

    def _lose_patience(self, seconds: float) -> None:
        """Tell everyone who has waited so long. One timer serves all: it is set for whoever waits longest."""
        self._timer, loop = None, self._loop()
        for item in chain(*self._flights.values(), self._waiting):
            if item.answer.done():
                continue
            if item.at + seconds > loop.time():
                self._timer = loop.call_at(item.at + seconds, self._lose_patience, seconds)
                return
            item.answer.set_exception(NoAnswerInTime())


def _claimed(passengers: list[_Passenger[Item, Answer]]) -> list[_Passenger[Item, Answer]]:
    """Those of them whose submitters have not gone."""
    return [passenger for passenger in passengers if not passenger.answer.done()]
