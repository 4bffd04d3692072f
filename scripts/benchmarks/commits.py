"""What the disk takes: one small transaction, and a second one after it, on a PostgreSQL like the gateway's own.

A call waits for the disk once: its hold commits without waiting, and a batch of settlements is flushed as one. The goal
is named by two commits, which is what it takes to make both durable by themselves; one commit is what our calls wait
for.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import asyncpg
from scripts.benchmarks.alarm import Alarm
from scripts.benchmarks.machine import OTHER_CPUS, pinned

from tollgate.infra.embedded_postgres import EmbeddedPostgres

_TABLE = "CREATE TABLE pairs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)"
_INSERT = "INSERT INTO pairs (note) VALUES ('a hold, or a settlement')"


class Pair(NamedTuple):
    """Milliseconds from when a pair of commits was due: to the end of its first one, and to the end of both."""

    one: float
    two: float
    late: float
    """To its beginning: the benchmark's own fault."""


class Commits:
    """A PostgreSQL of its own, alive for as long as the block runs."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="tollgate-bench-")
        self._server = EmbeddedPostgres(Path(self._scratch.name) / "data")
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        self._loop.__enter__()
        with pinned(OTHER_CPUS):
            self._loop.run(self._server.start())
        self._loop.run(self._make_table())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._server.stop())
        self._loop.__exit__(kind, error, trace)
        self._scratch.cleanup()

    def pairs(self, seconds: float, rate: float) -> list[Pair]:
        """How long pairs take that are due at this rate."""
        return self._loop.run(self._pairs(seconds, rate))

    async def _make_table(self) -> None:
        connection = await asyncpg.connect(self._server.url)
        await connection.execute(_TABLE)
        await connection.close()

    async def _pairs(self, seconds: float, rate: float) -> list[Pair]:
        taken = []
        connection = await asyncpg.connect(self._server.url)
        insert = await connection.prepare(_INSERT)
        is_due = asyncio.Event()
        alarm = Alarm(is_due.set)
        started = time.perf_counter()
        for at in range(int(seconds * rate)):
            due = started + at / rate
            is_due.clear()
            alarm.set(due)
            await is_due.wait()
            began = time.perf_counter()
            await insert.fetch()
            first = time.perf_counter()
            await insert.fetch()
            taken.append(Pair(*((each - due) * 1000 for each in (first, time.perf_counter(), began))))
        alarm.close()
        await connection.close()
        return taken
