"""Progress: calls that go on for longer are looked after from time to time; most end before, and cost nothing here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

LOOK_SECONDS = 1.0
_LATER_SHARE = 0.1
"""How much later, of that, a look may come, so that several calls are looked after together."""

Work = TypeVar("Work")


async def look_after(under_way: dict[Work, float], look: Callable[[Work], Awaitable[None]]) -> None:
    """Look, one after the other, after whatever has gone on for a second since it began or was looked after.

    `under_way` says since when, on the event loop's clock, the longest first; who ends takes itself out.
    """
    time = asyncio.get_running_loop().time
    while True:
        first = next(iter(under_way.values()), time())
        await asyncio.sleep(max(first + LOOK_SECONDS - time(), _LATER_SHARE * LOOK_SECONDS))
        until = time() - LOOK_SECONDS
        for work in [work for work, since in under_way.items() if since <= until]:
            if under_way.pop(work, None) is not None:
                # At the end again, so that the order holds.
                under_way[work] = time()
                await look(work)
