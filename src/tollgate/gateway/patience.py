"""Patience: waits that are watched by a timer only if they really wait.

Most sends and many reads are over at once. So what may have to wait is begun here by hand, one step; and only if that
was not all of it, the rest is waited for, with a timer.
"""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import TypeVar

Result = TypeVar("Result")


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """What the work comes to; raises what it raises.

    Raises:
        TimeoutError: it took longer.
    """
    begun = work.__await__()
    try:
        waits_for = next(begun)
    except StopIteration as done:
        result: Result = done.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest_of(begun, waits_for)


@coroutine
def _rest_of(begun: Generator[object, None, Result], waits_for: object) -> Generator[object, None, Result]:
    """Go on with what was begun, and waits for this; it is told of what interrupts the waiting, and ends with that."""
    try:
        yield waits_for
    except BaseException as interruption:
        try:
            begun.throw(interruption)
        finally:
            begun.close()
        raise
    return (yield from begun)
