"""The worker: every slice's scheduled jobs, wired in one place, run until a signal."""

import asyncio
import signal
from collections.abc import Mapping

from tollgate.entrypoints import ledger_access
from tollgate.gateway import sessions
from tollgate.infra import children, idempotency, jobs, migrations, settings, telemetry, worker
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.infra.jobs import Job, Schedule
from tollgate.infra.settings import Settings
from tollgate.invoices import tasks as invoices
from tollgate.kit.clock import Clock, SystemClock
from tollgate.metering import service as metering
from tollgate.metering import tasks as grants
from tollgate.statistics import tasks as statistics

_CONNECTIONS_MAX = 4
_RECOVERY_CONNECTIONS_MAX = 3


def schedules(database: Database, clock: Clock, configured: Settings) -> list[Schedule]:
    """Everything that happens by itself, and when."""

    async def keep_partitions_ready() -> None:
        async with database.write() as session:
            await metering.ensure_partitions(session, now=clock.now())

    async def ask_for_closings() -> None:
        await invoices.ask_for_due(database, clock, configured.invoice_grace)

    async def end_grants() -> None:
        await grants.end_grants(database, clock)

    async def fold_statistics() -> None:
        await statistics.fold(database, clock)

    async def drop_old_answers() -> None:
        async with database.write() as session:
            await idempotency.drop_before(session, clock.now() - idempotency.KEPT_FOR)

    async def forget_sessions() -> None:
        async with database.write() as session:
            await sessions.forget(session, now=clock.now())

    async def forget_failed_jobs() -> None:
        async with database.write() as session:
            await jobs.forget_failures(session)

    return [
        Schedule("sessions", "23,53 * * * *", forget_sessions),
        Schedule("partitions", "7 3 * * *", keep_partitions_ready),
        Schedule("grants-end", "* * * * *", end_grants),
        Schedule("statistics", "* * * * * */10", fold_statistics),
        Schedule("idempotent-answers", "37 * * * *", drop_old_answers),
        Schedule("month-close", "3,18,33,48 * * * *", ask_for_closings),
        Schedule("failed-jobs", "41 3 * * *", forget_failed_jobs),
    ]


def queued(database: Database, clock: Clock, configured: Settings) -> list[Job]:
    """Everything that is done because something else asked for it."""

    async def close_due(subject: str) -> None:
        await invoices.close_due(database, clock, configured.invoice_grace, subject)

    return [Job(invoices.CLOSE_JOB, close_due, concurrency=2)]


async def work_until_stopped(environment: Mapping[str, str]) -> None:
    """Run due jobs until SIGTERM or SIGINT, then finish those that have begun.

    Raises:
        BadSetting: the environment cannot be understood.
        SchemaMismatch: the database's schema is not the one these jobs were written for.
    """
    configured = settings.read(environment)
    telemetry.configure_logging()
    telemetry.warn_of_unknown_settings(environment)
    children.follow_parent(environment, patience_seconds=configured.stop_seconds_max)
    await migrations.until_current(configured.database_url)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clock = SystemClock()
    database = databases.connect(configured.database_url, connections_max=_CONNECTIONS_MAX)
    pool = await databases.connect_pool(configured.database_url, connections_max=_RECOVERY_CONNECTIONS_MAX)
    try:
        # The worker meters nothing itself, but records what gateway processes left that are gone.
        async with ledger_access.metered(pool, clock, configured):
            scheduled, asked_for = schedules(database, clock, configured), queued(database, clock, configured)
            await worker.run_worker(configured.database_url, scheduled, asked_for, stop)
    finally:
        await pool.close()
        await database.close()
