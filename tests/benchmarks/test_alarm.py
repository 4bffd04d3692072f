"""The alarm that calls are due by."""

import asyncio
import time
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from scripts.benchmarks.alarm import Alarm


async def test_rings_once_and_never_before_it_is_due() -> None:
    rung: list[str] = []
    has_rung = asyncio.Event()

    def an_alarm(name: str) -> Alarm:
        def ring() -> None:
            rung.append(name)
            has_rung.set()

        return Alarm(ring)

    distant, near, last = alarms = [an_alarm(name) for name in ("distant", "near", "last")]
    distant.set(time.perf_counter() + 3600)
    near.set(time.perf_counter() + 0.0123)
    await has_rung.wait()
    has_rung.clear()
    last.set(time.perf_counter())
    await has_rung.wait()
    for alarm in alarms:
        alarm.close()

    assert rung == ["near", "last"]


async def test_the_kernel_is_told_the_very_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []

    def settime(_file: int, flags: int, setting: Iterable[int], _before: None) -> None:
        told.append((flags, *setting))

    alarm = Alarm(told.clear)
    monkeypatch.setattr("scripts.benchmarks.alarm._LIBC", SimpleNamespace(timerfd_settime=settime))
    alarm.set(12.015625)
    alarm.close()
    assert told == [(1, 0, 0, 12, 15_625_000)]


async def test_rings_at_once_for_what_is_past_and_for_the_last_instant_that_it_was_set_to() -> None:
    has_rung = asyncio.Event()
    alarm = Alarm(has_rung.set)
    alarm.set(time.perf_counter() + 3600)
    alarm.set(time.perf_counter() - 1)
    await has_rung.wait()
    alarm.close()
