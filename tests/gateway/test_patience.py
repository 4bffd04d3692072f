"""Patience: what is over at once has no timer, and what waits is given up in time, whatever is awaited."""

import asyncio
from collections.abc import Generator
from typing import Any, cast

import pytest

from tollgate.gateway.patience import Patience, within


class Handed:
    """What a server hands out to be awaited: no generator, and nothing but the next step."""

    def __init__(self, *waits: "asyncio.Future[None]") -> None:
        self._waits = list(waits)

    def __await__(self) -> Generator[Any, None, str]:
        return cast("Generator[Any, None, str]", self)

    def __next__(self) -> object:
        if not self._waits:
            raise StopIteration("done")
        future = self._waits.pop(0)
        future._asyncio_future_blocking = True
        return future


def soon() -> "asyncio.Future[None]":
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_later(0.001, future.set_result, None)
    return future


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_it_comes_to_its_end_however_often_it_waits(waits: int) -> None:
    assert await within(5, Handed(*(soon() for _ in range(waits)))) == "done"


async def test_what_waits_too_long_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        await within(0.01, Handed(asyncio.get_running_loop().create_future()))


async def test_who_is_stopped_while_waiting_is_stopped_and_the_work_with_them() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.create_task(within(60, work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_what_fails_later_fails() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await within(5, work())


async def test_one_timer_ends_each_of_many_waits_in_its_time() -> None:
    patience, loop = Patience(0.05), asyncio.get_running_loop()
    happened: list[str] = []

    async def wait(name: str, delay: float) -> None:
        await asyncio.sleep(delay)
        loop.call_later(0.05, happened.append, f"{name} is due")
        with pytest.raises(TimeoutError):
            await patience.within(loop.create_future())
        happened.append(f"{name} is over")

    waits = [wait(name, delay) for name, delay in (("one", 0), ("two", 0.02), ("three", 0.04))]
    await asyncio.gather(*waits, patience.within(asyncio.sleep(0.03)))
    for name in ("one", "two", "three"):
        assert happened.index(f"{name} is due") < happened.index(f"{name} is over")
    assert [each for each in happened if "over" in each] == ["one is over", "two is over", "three is over"]
    assert await patience.within(asyncio.sleep(0, "done")) == "done"


async def test_a_wait_that_is_cancelled_is_not_told_that_it_was_late() -> None:
    patience = Patience(60)
    waiting = asyncio.create_task(patience.within(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
