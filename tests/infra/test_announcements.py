"""Announcements reach whoever follows them, and whoever follows them knows when they may not have."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tollgate.infra import announcements

PATIENCE_SECONDS = 60


class Follower:
    """Writes down what it is told, in order."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.told.get()


@pytest.fixture
async def follower(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Follower]:
    monkeypatch.setattr(announcements, "RECONNECT_SECONDS", 0.01)
    following = Follower()
    told = following.told
    async with announcements.follow(
        database_url,
        "news",
        heard=lambda payload: told.put_nowait(f"heard {payload}"),
        connected=lambda: told.put_nowait("connected"),
        lost=lambda: told.put_nowait("lost"),
    ):
        yield following
    assert told.get_nowait() == "lost"


async def test_are_heard_from_the_moment_of_connection(
    follower: Follower, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    assert await follower.next() == "connected"
    await pool.execute("NOTIFY news, 'rain'")
    assert await follower.next() == "heard rain"


async def test_are_heard_again_after_the_connection_was_lost(
    follower: Follower, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    assert await follower.next() == "connected"
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query ~ '^(SELECT 1$|LISTEN)'"
    )
    assert [await follower.next(), await follower.next()] == ["lost", "connected"]
    await pool.execute("NOTIFY news, 'sun'")
    assert await follower.next() == "heard sun"


async def test_of_a_server_that_refuses_are_tried_again_for_ever(
    database_url: str, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "RECONNECT_SECONDS", 0.01)
    connected, stranger = asyncio.Event(), f"stranger_{os.getpid()}"
    url = f"postgresql://{stranger}:secret@{database_url.partition('@')[2]}"
    async with announcements.follow(url, "news", heard=lambda _: None, connected=connected.set):
        await asyncio.sleep(0.1)
        assert not connected.is_set()
        await pool.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD 'secret'")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await connected.wait()
        finally:
            await pool.execute(f"DROP ROLE {stranger}")


async def test_of_a_connection_that_died_without_a_word_are_noticed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(announcements, "RECONNECT_SECONDS", 0.01)
    connected, lost = asyncio.Event(), asyncio.Event()
    async with (
        announcements.follow(database_url, "news", heard=lambda _: None, connected=connected.set, lost=lost.set),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await connected.wait()
        # A server that answers no more, with a connection that stays open.
        monkeypatch.setattr(asyncpg.Connection, "fetchval", _silence)
        await lost.wait()


@pytest.mark.parametrize("turns", range(8))
async def test_are_left_however_closely_the_loss_of_the_connection_came_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    opened: list[asyncpg.Connection[asyncpg.Record]] = []
    connect = asyncpg.connect

    async def listed(*arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        opened.append(await connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(asyncpg, "connect", listed)
    connected = asyncio.Event()
    others = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with announcements.follow(database_url, "news", heard=lambda _: None, connected=connected.set):
            await connected.wait()
            await asyncio.sleep(0.05)
            opened[0].terminate()
            for _ in range(turns):
                await asyncio.sleep(0)
    assert asyncio.all_tasks() <= others


async def _silence(_connection: object, _query: str, *, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's own
    async with asyncio.timeout(timeout):
        await asyncio.Event().wait()
