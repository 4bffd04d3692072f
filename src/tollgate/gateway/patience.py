"""Patience: waits that are watched by a timer only if they really wait, or by one timer for many of them.

Most sends are over at once. So what may have to wait is begun here by hand, one step; and only if that was not all of
it, the rest is waited for, with a timer of ours or, after `begin`, of whoever begins it. Nearly all bodies have to be
waited for, and nearly none for long: all of them have one timer together.
"""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Patience:
    """How long each of many waits may take. One timer watches all of them: it is set for the one that began first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[asyncio.Timeout, float] = {}
        """Until when each may last, in the order in which they began, and so of their ends."""
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, work: Awaitable[Result]) -> Result:
        """What the work comes to; raises what it raises.

        Raises:
            TimeoutError: it took longer, and is given up.
        """
        loop, wait = asyncio.get_running_loop(), asyncio.Timeout(None)
        self._waits[wait] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._ring, loop)
        try:
            async with wait:
                return await work
        finally:
            self._waits.pop(wait, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits that have lasted so long, and ring again when the next one will have."""
        self._timer, now = None, loop.time()
        for wait, until in list(self._waits.items()):
            if until > now:
                self._timer = loop.call_at(until, self._ring, loop)
                return
            del self._waits[wait]
            wait.reschedule(now)


def begin(work: Awaitable[None]) -> Awaitable[None] | None:
    """Do a first step of the work, raising what it raises; what is left of it, to be awaited, if that was not all."""
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration:
        return None
    return _rest_of(steps, waits_for)


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """What the work comes to; raises what it raises.

    Raises:
        TimeoutError: it took longer, and is given up.
    """
    steps = work.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        result: Result = done.value
        return result
    async with asyncio.timeout(seconds):
        rest: Result = await _rest_of(steps, waits_for)
        return rest


@coroutine
def _rest_of(steps: Any, waits_for: object) -> Generator[object, None, Any]:
    """Go on with work that has begun, and waits for this.

    What servers hand out to be awaited need not be a generator: all it has to know is what comes next.
    """
    while True:
        try:
            yield waits_for
        except BaseException as interruption:
            _interrupt(steps, interruption)
            raise
        try:
            waits_for = next(steps)
        except StopIteration as done:
            return done.value


def _interrupt(steps: Any, interruption: BaseException) -> None:
    """Tell the work of what interrupts it, if it can be told, and have it end there."""
    if hasattr(steps, "throw"):
        try:
            steps.throw(interruption)
        finally:
            steps.close()
