"""Announcements: what PostgreSQL tells every process that listens, and when it may have gone unheard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog

from tollgate.infra.database import DATABASE_AWAY

HEARTBEAT_SECONDS = 5.0
RECONNECT_SECONDS = 1.0

_log = structlog.get_logger(__name__)


def _nothing() -> None:
    """What to do where nothing has to be done."""


@asynccontextmanager
async def follow(
    database_url: str,
    channel: str,
    *,
    heard: Callable[[str], None],
    connected: Callable[[], None] = _nothing,
    lost: Callable[[], None] = _nothing,
) -> AsyncIterator[None]:
    """Listen on a channel for as long as the block runs, through every loss of the connection.

    `heard` gets the payload of each announcement. From `connected` on none goes unheard, until `lost`; both are called
    again and again. What was announced in between is gone: who needs it has to look for himself when connected.
    """

    async def for_ever() -> None:
        while True:
            try:
                await _listen(database_url, channel, heard, connected, lost)
            # Whatever the server has against us may be put right: nobody else would notice that we went deaf.
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                _log.warning("announcements_lost", channel=channel, error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    following = asyncio.create_task(for_ever(), name=f"following {channel}")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])


async def _listen(
    database_url: str,
    channel: str,
    heard: Callable[[str], None],
    connected: Callable[[], None],
    lost: Callable[[], None],
) -> None:
    connection = await asyncpg.connect(database_url, timeout=HEARTBEAT_SECONDS)
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    try:
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: heard(str(payload)))
        connected()
        while not ended.is_set():
            # A connection can also die without a word; only an answer proves that announcements still arrive.
            await connection.fetchval("SELECT 1", timeout=HEARTBEAT_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await ended.wait()
    finally:
        lost()
        connection.terminate()
