"""A database for an opponent: the embedded PostgreSQL that we serve with, durable as ours, new and empty each time."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from scripts.benchmarks.contestants import NotStarted
from scripts.benchmarks.machine import pinned

from tollgate.infra.embedded_account import ServerFailed
from tollgate.infra.embedded_postgres import EmbeddedPostgres

_MIGRATE_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Database:
    """A running server's address and its topmost process."""

    url: str
    pid: int


@contextmanager
def database(migrations: Sequence[str], *, gateway_cpu: int) -> Iterator[Database]:
    """A database that these scripts have made, on any CPU but the gateway's; it is gone when the block ends.

    Raises:
        NotStarted: it does not start, or they fail.
    """
    others = os.sched_getaffinity(0) - {gateway_cpu} or {gateway_cpu}
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch, asyncio.Runner() as runner:
        server = EmbeddedPostgres(Path(scratch))
        try:
            with pinned(others):
                runner.run(server.start())
        except ServerFailed as error:
            raise NotStarted(" ".join(str(error).split())) from error
        try:
            runner.run(_migrate(server.url, migrations))
            yield Database(server.url, int((Path(scratch) / "postgres" / "postmaster.pid").read_text().split()[0]))
        finally:
            runner.run(server.stop())


async def _migrate(url: str, migrations: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(_MIGRATE_SECONDS_MAX):
            connection = await asyncpg.connect(url)
            for script in migrations:
                await connection.execute(script)
            await connection.close()
    except (asyncpg.PostgresError, TimeoutError) as error:
        raise NotStarted(f"its database cannot be made: {error!r}") from error
