"""The control plane's door: what it says when the server is away, and that nobody keeps it open for ever."""

import asyncio
import os
import socket
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from tollgate.infra import database as databases
from tollgate.infra.database import DATABASE_AWAY, Database, ReadSession
from tollgate.kit.errors import Unavailable


async def _ask(database: Database, question: str = "SELECT 1") -> None:
    async with database.read() as session:
        await session.execute(sa.text(question))


async def _pid(session: ReadSession) -> int:
    return int((await session.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())


class TestAway:
    async def test_is_a_connection_that_ends_in_the_middle_of_a_question(
        self, database: Database, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        with pytest.raises(DATABASE_AWAY):  # noqa: PT012 - it ends on the second question
            async with database.read() as session:
                await pool.execute("SELECT pg_terminate_backend($1)", await _pid(session))
                await session.execute(sa.text("SELECT 1"))

    async def test_is_a_connection_that_ends_while_a_question_waits(
        self, database: Database, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        with pytest.raises(DATABASE_AWAY):  # noqa: PT012 - it ends on the second question
            async with database.write() as session:
                pid = await _pid(session)
                asking = asyncio.ensure_future(session.execute(sa.text("SELECT pg_sleep(60)")))
                sleeping = "SELECT query ~ 'pg_sleep' FROM pg_stat_activity WHERE pid = $1"
                while not await pool.fetchval(sleeping, pid):  # noqa: ASYNC110 - PostgreSQL announces no such thing
                    await asyncio.sleep(0.01)
                await pool.execute("SELECT pg_terminate_backend($1)", pid)
                await asking

    async def test_is_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        for url in (
            f"postgresql://nobody@127.0.0.1:{port}/nothing",
            f"postgresql://nobody@/nothing?host={tmp_path}",
            "postgresql://nobody@no-such-host.invalid/nothing",
        ):
            away = databases.connect(url)
            with pytest.raises(DATABASE_AWAY):
                await _ask(away)

    async def test_is_a_server_without_a_connection_to_spare(
        self, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        crowded = f"crowded_{os.getpid()}"
        await pool.execute(f"CREATE ROLE {crowded} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0")
        try:
            away = databases.connect(f"postgresql://{crowded}:secret@{database_url.partition('@')[2]}")
            with pytest.raises(DATABASE_AWAY):
                await _ask(away)
        finally:
            await pool.execute(f"DROP ROLE {crowded}")

    async def test_is_a_door_that_others_keep_busy(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        narrow = databases.connect(database_url, connections_max=1)
        monkeypatch.setattr(narrow._engine.pool, "_timeout", 0.01)
        async with narrow.read():
            with pytest.raises(DATABASE_AWAY):
                await _ask(narrow)
        await narrow.close()

    async def test_is_not_a_question_that_is_wrong(self, database: Database) -> None:
        with pytest.raises(sa.exc.ProgrammingError) as wrong:
            await _ask(database, "SELECT nothing FROM nowhere")

        assert not isinstance(wrong.value, DATABASE_AWAY)


async def test_a_question_that_takes_too_long_is_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "READ_SECONDS_MAX", 1)

    with pytest.raises(Unavailable, match="longer than 1 s"):
        await _ask(database, "SELECT pg_sleep(60)")


async def test_a_view_stays_the_same_and_cannot_be_written_through(database: Database) -> None:
    async with database.read() as session:
        shown = [(await session.execute(sa.text(f"SHOW {name}"))).scalar_one() for name in _TRANSACTION]

    assert shown == ["repeatable read", "on", "30s"]


_TRANSACTION = ("transaction_isolation", "transaction_read_only", "statement_timeout")


async def test_a_connection_that_showed_a_view_can_write_again(database_url: str) -> None:
    alone = databases.connect(database_url, connections_max=1)
    await _ask(alone)

    async with alone.write() as session:
        shown = [(await session.execute(sa.text(f"SHOW {name}"))).scalar_one() for name in _TRANSACTION]
    await alone.close()

    assert shown == ["read committed", "off", "0"]
