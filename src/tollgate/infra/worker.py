"""What a worker does: it runs what schedules say is due, once however many workers there are, and jobs from the queue.

PostgreSQL keeps the schedules: a worker takes due work by locking its row, so no other worker takes it too. What was
due while no worker ran is done once when the next one starts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.models import Schedule as DueSchedule

from tollgate.infra import database, telemetry
from tollgate.infra.database import DATABASE_AWAY
from tollgate.infra.job_queue import JobQueue, Pace, Pool
from tollgate.infra.jobs import Job, Schedule

_CONNECTIONS_MAX = 4
_PACE = Pace()

_log = structlog.get_logger()


async def run_worker(
    database_url: str, schedules: Sequence[Schedule], jobs: Sequence[Job], stop: asyncio.Event, *, pace: Pace = _PACE
) -> None:
    """Do what is due and what is asked for until `stop` is set, then let what has begun finish.

    Scheduled work that raises is logged, by the library, and runs again when it is due next; of what went well only
    counters and the status tell. While the database is away, so is the worker.
    """
    while not stop.is_set():
        try:
            await _run_while_connected(database_url, schedules, jobs, stop, pace)
        except* DATABASE_AWAY as away:
            seconds = pace.away.total_seconds()
            _log.warning("worker.database_away", reason=str(away.exceptions[0]), retry_seconds=seconds)
            await _pause(stop, seconds)


async def _run_while_connected(
    database_url: str, schedules: Sequence[Schedule], jobs: Sequence[Job], stop: asyncio.Event, pace: Pace
) -> None:
    pool = await database.connect_pool(database_url, connections_max=_CONNECTIONS_MAX)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_keep_schedules(pool, schedules, stop))
            both.create_task(JobQueue(pool, jobs, pace).work(stop))
    finally:
        await pool.close()


async def _keep_schedules(pool: Pool, schedules: Sequence[Schedule], stop: asyncio.Event) -> None:
    if not schedules:
        return
    manager = SchedulerManager(Queries(AsyncpgPoolDriver(pool)))
    manager.shutdown = stop
    for schedule in schedules:
        manager.schedule(schedule.name, schedule.cron)(_counted(schedule))
    await manager.run()


def _counted(schedule: Schedule) -> Callable[[DueSchedule], Awaitable[None]]:
    async def run(_due: DueSchedule) -> None:
        outcome = "failed"
        try:
            with telemetry.SCHEDULE_SECONDS.labels(schedule.name).time():
                await schedule.job()
            outcome = "finished"
        finally:
            telemetry.JOBS.labels(schedule.name, outcome).inc()

    return run


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
