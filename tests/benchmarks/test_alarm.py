"""The alarm that calls are due by."""

import asyncio
import time

from scripts.benchmarks.alarm import Alarm


async def test_rings_once_and_never_before_it_is_due() -> None:
    rung: list[float] = []
    has_rung = asyncio.Event()

    def ring() -> None:
        rung.append(time.perf_counter())
        has_rung.set()

    alarm = Alarm(ring)
    due = time.perf_counter() + 0.0123
    alarm.set(due)
    await has_rung.wait()
    await asyncio.sleep(0.005)
    alarm.close()

    assert len(rung) == 1
    assert rung[0] >= due


async def test_rings_at_once_for_what_is_past_and_for_the_last_instant_that_it_was_set_to() -> None:
    has_rung = asyncio.Event()
    alarm = Alarm(has_rung.set)
    alarm.set(time.perf_counter() + 3600)
    alarm.set(time.perf_counter() - 1)
    await has_rung.wait()
    alarm.close()
