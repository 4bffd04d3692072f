"""Jobs: each runs once per due time, whoever runs it, and nothing that ends early is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tollgate.infra.job_queue import Pace
from tollgate.infra.jobs import Schedule
from tollgate.infra.worker import run_worker

EVERY_SECOND = "* * * * * *"
HASTY = Pace(away=timedelta(milliseconds=100))
YEARLY = "0 0 1 1 *"
PATIENCE_SECONDS = 100
"""A job whose worker lost it is taken up again half a minute later, and the machine may be busy."""
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@asynccontextmanager
async def workers(database_url: str, schedules: list[Schedule], *, count: int = 1) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    running = [asyncio.create_task(run_worker(database_url, schedules, [], stop, pace=HASTY)) for _ in range(count)]
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.gather(*running)


async def _until_scheduled(pool: Pool, job: str, *, status: str = "queued") -> None:
    found = "SELECT status = $2 FROM pgqueuer_schedules WHERE entrypoint = $1"
    while not await pool.fetchval(found, job, status):  # noqa: ASYNC110 - the library announces no such thing
        await asyncio.sleep(0.01)


async def _make_due(pool: Pool, job: str) -> None:
    await pool.execute("UPDATE pgqueuer_schedules SET next_run = now() - interval '1 hour' WHERE entrypoint = $1", job)


async def test_a_due_job_runs_once_however_many_workers_there_are(database_url: str, pool: Pool) -> None:
    runs = 0
    looks: list[asyncio.Queue[None]] = [asyncio.Queue() for _ in range(2)]

    async def job() -> None:
        nonlocal runs
        runs += 1

    def own(worker: int) -> Schedule:
        """What this worker alone does each time it looks for work."""
        return Schedule(f"look of {worker}", EVERY_SECOND, lambda: looks[worker].put(None))

    shared = Schedule("new year", YEARLY, job)
    async with AsyncExitStack() as running, asyncio.timeout(PATIENCE_SECONDS):
        for worker in range(2):
            await running.enter_async_context(workers(database_url, [shared, own(worker)]))
        await _until_scheduled(pool, shared.name)
        await _make_due(pool, shared.name)
        for look in looks:
            for _ in range(look.qsize() + 2):
                await look.get()
    assert runs == 1
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer_schedules WHERE entrypoint = $1", shared.name) == 1


async def test_a_job_that_raises_is_told_of_and_runs_again_when_it_is_due_next(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0
    again = asyncio.Event()

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            again.set()
        raise LookupError("the first of many")

    async with workers(database_url, [Schedule("unlucky", EVERY_SECOND, job)]), asyncio.timeout(PATIENCE_SECONDS):
        await again.wait()

    assert {(each.levelname, "unlucky" in each.getMessage()) for each in caplog.records} == {("ERROR", True)}
    assert _counted("unlucky", "failed") >= 1


async def test_a_job_that_goes_well_is_counted_and_not_told_of(
    database_url: str, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    runs: asyncio.Queue[None] = asyncio.Queue()
    with capture_logs() as logged, caplog.at_level(logging.INFO):
        async with (
            workers(database_url, [Schedule("quiet", EVERY_SECOND, lambda: runs.put(None))]),
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            await runs.get()
            await _until_scheduled(pool, "quiet")

    assert (logged, caplog.records) == ([], [])
    assert _counted("quiet", "finished") >= 1


def _counted(job: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("tollgate_jobs_total", {"job": job, "outcome": outcome}) or 0


async def test_a_job_missed_while_no_worker_ran_is_done_when_one_starts(database_url: str, pool: Pool) -> None:
    done = asyncio.Event()

    async def job() -> None:
        done.set()

    yearly = [Schedule("new year", YEARLY, job)]
    async with workers(database_url, yearly), asyncio.timeout(PATIENCE_SECONDS):
        await _until_scheduled(pool, "new year")
    assert not done.is_set()
    await _make_due(pool, "new year")
    async with workers(database_url, yearly), asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()


async def test_a_job_that_has_begun_is_finished_before_the_worker_stops(database_url: str) -> None:
    began, stopping, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job() -> None:
        began.set()
        await stopping.wait()
        await asyncio.sleep(0.2)
        finished.set()

    async with (
        workers(database_url, [Schedule("slow", EVERY_SECOND, job)]) as stop,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await began.wait()
        stop.set()
        stopping.set()
    assert finished.is_set()


async def test_a_worker_outlives_its_connections(database_url: str, server_url: str, pool: Pool) -> None:
    runs: asyncio.Queue[None] = asyncio.Queue()

    async def job() -> None:
        await runs.put(None)

    async with workers(database_url, [Schedule("steady", EVERY_SECOND, job)]), asyncio.timeout(PATIENCE_SECONDS):
        await runs.get()
        await _until_scheduled(pool, "steady")
        operator = await asyncpg.connect(server_url)
        name = await pool.fetchval("SELECT current_database()")
        await operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await operator.close()
        for _ in range(runs.qsize() + 1):
            await runs.get()


async def test_the_migration_makes_the_tables_that_the_library_expects(pool: Pool) -> None:
    plan = await Queries(AsyncpgPoolDriver(pool)).plan_upgrade()
    assert plan.statements == ()
