"""Patience: waits that are watched by a timer only if they really wait.

Most sends are over at once. So what may have to wait is begun here by hand, one step; and only if that was not all of
it, the rest is waited for, with a timer.
"""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """What the work comes to; raises what it raises.

    Raises:
        TimeoutError: it took longer, and is given up.
    """
    begun = work.__await__()
    try:
        waits_for = next(begun)
    except StopIteration as done:
        result: Result = done.value
        return result
    async with asyncio.timeout(seconds):
        rest: Result = await _rest_of(begun, waits_for)
        return rest


@coroutine
def _rest_of(begun: Any, waits_for: object) -> Generator[object, None, Any]:
    """Go on with what was begun, and waits for this.

    What servers hand out to be awaited need not be a generator: all it has to know is what comes next.
    """
    while True:
        try:
            yield waits_for
        except BaseException as interruption:
            _interrupt(begun, interruption)
            raise
        try:
            waits_for = next(begun)
        except StopIteration as done:
            return done.value


def _interrupt(begun: Any, interruption: BaseException) -> None:
    """Tell the work of what interrupts it, if it can be told, and have it end there."""
    if hasattr(begun, "throw"):
        try:
            begun.throw(interruption)
        finally:
            begun.close()
