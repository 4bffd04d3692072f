"""Jobs: each runs once per due time, whoever runs it, and nothing that ends early is lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries

from tollgate.infra.jobs import Schedule, run_worker

EVERY_SECOND = "* * * * * *"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@asynccontextmanager
async def workers(database_url: str, schedules: list[Schedule], *, count: int = 1) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    running = [asyncio.create_task(run_worker(database_url, schedules, stop)) for _ in range(count)]
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.gather(*running)


async def test_a_due_job_runs_once_however_many_workers_there_are(database_url: str, pool: Pool) -> None:
    runs: list[float] = []

    async def job() -> None:
        runs.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1)

    async with workers(database_url, [Schedule("tick", EVERY_SECOND, job)], count=3):
        await asyncio.sleep(3.5)
    gaps = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert runs
    assert all(gap > 0.5 for gap in gaps)
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer_schedules") == 1


async def test_a_job_that_raises_runs_again_when_it_is_due_next(database_url: str) -> None:
    runs = 0
    again = asyncio.Event()

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            again.set()
        raise LookupError("the first of many")

    async with workers(database_url, [Schedule("unlucky", EVERY_SECOND, job)]), asyncio.timeout(20):
        await again.wait()


async def test_a_job_missed_while_no_worker_ran_is_done_when_one_starts(database_url: str, pool: Pool) -> None:
    done = asyncio.Event()

    async def job() -> None:
        done.set()

    yearly = [Schedule("new year", "0 0 1 1 *", job)]
    async with workers(database_url, yearly):
        await asyncio.sleep(0.5)
    assert not done.is_set()
    await pool.execute("UPDATE pgqueuer_schedules SET next_run = now() - interval '1 hour'")
    async with workers(database_url, yearly), asyncio.timeout(10):
        await done.wait()


async def test_a_job_that_has_begun_is_finished_before_the_worker_stops(database_url: str) -> None:
    began, finished = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        began.set()
        await asyncio.sleep(0.5)
        finished.set()

    async with workers(database_url, [Schedule("slow", EVERY_SECOND, job)]) as stop, asyncio.timeout(20):
        await began.wait()
        stop.set()
    assert finished.is_set()


async def test_a_worker_outlives_its_connections(database_url: str, server_url: str) -> None:
    runs: asyncio.Queue[None] = asyncio.Queue()

    async def job() -> None:
        await runs.put(None)

    async with workers(database_url, [Schedule("steady", EVERY_SECOND, job)]), asyncio.timeout(30):
        await runs.get()
        name = database_url.partition("?")[0].rpartition("/")[2]
        operator = await asyncpg.connect(server_url)
        await operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await operator.close()
        while not runs.empty():
            runs.get_nowait()
        await runs.get()


async def test_the_migration_makes_the_tables_that_the_library_expects(pool: Pool) -> None:
    plan = await Queries(AsyncpgPoolDriver(pool)).plan_upgrade()
    assert plan.statements == ()
