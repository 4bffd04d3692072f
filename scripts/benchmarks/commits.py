"""What the disk takes: two small transactions, one after the other, on a PostgreSQL like the gateway's own.

A call waits for two commits, of its hold and of its settlement; what it takes longer than these is the gateway's.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from scripts.benchmarks.machine import OTHER_CPUS, pinned

from tollgate.infra.embedded_postgres import EmbeddedPostgres

_TABLE = "CREATE TABLE pairs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)"
_INSERT = "INSERT INTO pairs (note) VALUES ('a hold, or a settlement')"


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

    def milliseconds(self, seconds: float, rate: float) -> list[float]:
        """How long pairs take that are due at this rate, each from when it was due."""
        return self._loop.run(self._pairs(seconds, rate))

    async def _make_table(self) -> None:
        connection = await asyncpg.connect(self._server.url)
        await connection.execute(_TABLE)
        await connection.close()

    async def _pairs(self, seconds: float, rate: float) -> list[float]:
        taken = []
        connection = await asyncpg.connect(self._server.url)
        insert = await connection.prepare(_INSERT)
        started = time.perf_counter()
        for at in range(int(seconds * rate)):
            due = started + at / rate
            await asyncio.sleep(due - time.perf_counter())
            await insert.fetch()
            await insert.fetch()
            taken.append((time.perf_counter() - due) * 1000)
        await connection.close()
        return taken
