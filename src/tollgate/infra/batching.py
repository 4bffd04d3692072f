"""Batching: calls that arrive together make one round trip together.

A batch leaves at once while a flight is free; what arrives during the flights forms the next batch. So a lone caller
waits for nothing, and batches grow with load by themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Hands items to `flush` in batches and gives each submitter the answer at its own position.

    `flush` answers every item of its batch, in order. An exception of `flush` reaches everyone in its batch. A
    submitter that is cancelled takes nothing back, unless it says so: its item travels with its batch all the same.
    """

    def __init__(
        self, flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, size_max: int, flights_max: int
    ) -> None:
        self._flush = flush
        self._size_max = size_max
        self._flights_free = flights_max
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._departure_planned = False
        self._flights: set[asyncio.Task[Sequence[Answer]]] = set()
        self._under_way: set[asyncio.Future[Answer]] = set()
        self._withdrawn: set[asyncio.Future[Answer]] = set()

    @property
    def unanswered(self) -> int:
        """How many items wait for their answer."""
        return len(self._waiting) - len(self._withdrawn) + len(self._under_way)

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Put the item on the next batch; the future holds its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if not self._departure_planned and self._flights_free:
            # One turn of the loop later, so that everything this turn brings in goes along.
            self._departure_planned = True
            loop.call_soon(self._depart)
        return future

    def withdraw(self, future: asyncio.Future[Answer]) -> bool:
        """Take an item back whose answer nobody waits for; false if it is under way already, or has been answered."""
        if future.done() or future in self._under_way:
            return False
        self._withdrawn.add(future)
        return True

    async def drained(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._waiting or self._flights:
            await asyncio.sleep(0)
            if self._flights:
                await asyncio.wait(self._flights)

    def _depart(self) -> None:
        self._departure_planned = False
        if self._withdrawn:
            self._waiting = [waiting for waiting in self._waiting if waiting[1] not in self._withdrawn]
            self._withdrawn.clear()
        while self._waiting and self._flights_free:
            batch, self._waiting = self._waiting[: self._size_max], self._waiting[self._size_max :]
            self._flights_free -= 1
            futures = [future for _, future in batch]
            self._under_way.update(futures)
            flight = asyncio.get_running_loop().create_task(self._fly([item for item, _ in batch]))
            self._flights.add(flight)
            flight.add_done_callback(partial(self._land, futures))

    async def _fly(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = await self._flush(items)
        if len(answers) != len(items):
            raise RuntimeError(f"a batch of {len(items)} got {len(answers)} answers")
        return answers

    def _land(self, futures: Sequence[asyncio.Future[Answer]], flight: asyncio.Task[Sequence[Answer]]) -> None:
        for position, future in enumerate(futures):
            if future.done():
                continue
            if flight.cancelled():
                future.cancel()
            elif (error := flight.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(flight.result()[position])
        self._flights.discard(flight)
        self._under_way.difference_update(futures)
        self._flights_free += 1
        self._depart()
