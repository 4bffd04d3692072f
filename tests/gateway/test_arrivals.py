"""Chunks of a body: taken together as far as they have come, none lost or doubled, and not waited for too long."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.bytes import Bytes
from pyreqwest.exceptions import ReadError

from tollgate.gateway import upstream
from tollgate.gateway.upstream import _Arrivals
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut

WAIT = None
"""What comes next has to be waited for."""
FOR_EVER = ...
"""Nothing comes any more."""
BROKEN = ReadError("broken", {"causes": None})
Script = Sequence[Any]
CHUNKS = st.lists(st.sampled_from([WAIT, b"1", b"23", b"456"]), max_size=12)


def reading(script: Script) -> Callable[[], Coroutine[Any, None, Bytes | None]]:
    """The library's way to read a body that comes like this."""
    left = iter(script)

    async def read() -> Bytes | None:
        for each in left:
            if each is WAIT:
                await asyncio.sleep(0)
            elif isinstance(each, asyncio.Future):
                await each
            elif each is FOR_EVER:
                await asyncio.Event().wait()
            elif each is BROKEN:
                raise BROKEN
            else:
                return Bytes(each)
        return None

    return read


async def taken(script: Script, pieces: list[bytes]) -> None:
    """Take all of such a body."""
    arrivals = _Arrivals(reading(script), idle_seconds=5)
    try:
        while piece := await arrivals.take():
            pieces.append(piece)
        assert await arrivals.take() == b""
    finally:
        arrivals.close()


async def test_what_has_come_is_taken_together() -> None:
    pieces: list[bytes] = []
    await taken([b"1", b"2", WAIT, b"3", b"4", WAIT, b"5"], pieces)
    assert pieces == [b"12", b"34", b"5"]


@given(CHUNKS)
async def test_all_that_comes_is_taken(script: Script) -> None:
    pieces: list[bytes] = []
    await taken(script, pieces)
    assert b"".join(pieces) == b"".join(chunk for chunk in script if chunk is not WAIT)


@given(CHUNKS)
async def test_what_came_before_a_body_broke_off_is_taken_first(script: Script) -> None:
    pieces: list[bytes] = []
    with pytest.raises(ProviderFailed) as failed:
        await taken([*script, BROKEN], pieces)
    assert failed.value.__cause__ is BROKEN
    assert b"".join(pieces) == b"".join(chunk for chunk in script if chunk is not WAIT)


async def test_what_has_come_meanwhile_is_not_waited_for() -> None:
    come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    arrivals = _Arrivals(reading([b"1", come, b"2"]), idle_seconds=5)
    assert await arrivals.take() == b"1"
    come.set_result(None)
    with pytest.raises(StopIteration) as taken_at_once:
        next(arrivals.take())
    assert taken_at_once.value.value == b"2"
    arrivals.close()


async def test_no_more_than_some_is_taken_at_once() -> None:
    pieces: list[bytes] = []
    await taken([b"x" * 10_000] * 20, pieces)
    assert [len(piece) for piece in pieces] == [70_000, 70_000, 60_000]


@pytest.mark.parametrize("before", [[], [b"1"], [WAIT, b"1"]], ids=["nothing", "something", "something later"])
async def test_a_body_that_stalls_is_given_up(before: Script) -> None:
    arrivals = _Arrivals(reading([*before, FOR_EVER]), idle_seconds=0.02)
    if before:
        assert await arrivals.take() == b"1"
    for _ in range(2):
        with pytest.raises(ProviderTimedOut):
            await arrivals.take()
    arrivals.close()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # this is in a task


async def test_time_between_waits_is_no_stalling() -> None:
    arrivals = _Arrivals(reading([b"1", WAIT, b"2", WAIT, WAIT, b"3"]), idle_seconds=0.02)
    for expected in (b"1", b"2", b"3", b""):
        assert await arrivals.take() == expected
        await asyncio.sleep(0.03)
    arrivals.close()


async def test_who_is_stopped_while_waiting_is_stopped() -> None:
    arrivals = _Arrivals(reading([FOR_EVER]), idle_seconds=5)

    async def take() -> bytes:
        return await arrivals.take()

    waiting = asyncio.create_task(take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    arrivals.close()


async def test_a_body_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(upstream, "ANSWER_BYTES_MAX", 100)
    with pytest.raises(ProviderFailed, match="does not end"):
        await taken([b"x" * 30, WAIT] * 5, pieces)
    assert len(pieces) == 3
    monkeypatch.setattr(upstream, "ANSWER_SECONDS_MAX", -1)
    with pytest.raises(ProviderFailed, match="does not end"):
        await taken([WAIT, b"x"], pieces)
