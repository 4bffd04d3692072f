"""Jobs: work that happens on a schedule, once per due time however many workers there are.

PostgreSQL keeps the schedule: a worker takes a due job by locking its row, so no other worker takes it too. A job that
was due while no worker ran is done once when the next one starts. Jobs must bear being repeated after a crash.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.models import Schedule as DueSchedule

from tollgate.infra import database
from tollgate.infra.database import DATABASE_AWAY

_CONNECTIONS_MAX = 4
_RETRY_SECONDS = 5

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job and when it is due."""

    name: str
    """What the job is called, in the database and in the logs; never to be reused for another."""
    cron: str
    """Five fields, UTC: minute, hour, day of month, month, day of week; a sixth field means seconds."""
    job: Callable[[], Awaitable[None]]


async def run_worker(database_url: str, schedules: Sequence[Schedule], stop: asyncio.Event) -> None:
    """Run due jobs until `stop` is set, then let those that have begun finish.

    A job that raises is logged and runs again when it is due next. While the database is away, so is the worker.
    """
    while not stop.is_set():
        try:
            await _run_while_connected(database_url, schedules, stop)
        except DATABASE_AWAY as error:
            _log.warning("worker.database_away", reason=str(error), retry_seconds=_RETRY_SECONDS)
            await _pause(stop)


async def _run_while_connected(database_url: str, schedules: Sequence[Schedule], stop: asyncio.Event) -> None:
    pool = await database.connect_pool(database_url, connections_max=_CONNECTIONS_MAX)
    try:
        if not schedules:
            await stop.wait()
            return
        manager = SchedulerManager(Queries(AsyncpgPoolDriver(pool)))
        manager.shutdown = stop
        for schedule in schedules:
            manager.schedule(schedule.name, schedule.cron)(_logged(schedule))
        await manager.run()
    finally:
        await pool.close()


def _logged(schedule: Schedule) -> Callable[[DueSchedule], Awaitable[None]]:
    async def run(_due: DueSchedule) -> None:
        began = asyncio.get_running_loop().time()
        _log.info("job.started", job=schedule.name)
        outcome = "failed"
        try:
            await schedule.job()
            outcome = "finished"
        finally:
            seconds = round(asyncio.get_running_loop().time() - began, 3)
            _log.info(f"job.{outcome}", job=schedule.name, seconds=seconds)

    return run


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_RETRY_SECONDS):
            await stop.wait()
    except TimeoutError:
        return
