"""The worker: every slice's scheduled jobs, wired in one place, run until a signal."""

import asyncio
import signal
from collections.abc import Mapping
from datetime import timedelta

from tollgate.entrypoints import ledger_access, stripe_access
from tollgate.gateway import sessions
from tollgate.infra import children, idempotency, jobs, migrations, settings, telemetry
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.infra.jobs import Schedule
from tollgate.infra.settings import Settings
from tollgate.invoices import tasks as invoices
from tollgate.kit.clock import Clock, SystemClock
from tollgate.metering import service as metering
from tollgate.metering import tasks as grants
from tollgate.payments import tasks as payments
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient
from tollgate.statistics import tasks as statistics

_CONNECTIONS_MAX = 4
_RECOVERY_CONNECTIONS_MAX = 3


def schedules(
    database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None = None
) -> list[Schedule]:
    """Everything that happens by itself, and when."""

    async def keep_partitions_ready() -> None:
        async with database.write() as session:
            await metering.ensure_partitions(session, now=clock.now())

    async def close_due_months() -> None:
        await invoices.close_due_months(database, clock, timedelta(seconds=configured.invoice_grace_seconds))

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

    return [
        Schedule("sessions", "23,53 * * * *", forget_sessions),
        Schedule("partitions", "7 3 * * *", keep_partitions_ready),
        Schedule("grants-end", "* * * * *", end_grants),
        Schedule("statistics", "* * * * * */10", fold_statistics),
        Schedule("idempotent-answers", "37 * * * *", drop_old_answers),
        Schedule("month-close", "3,18,33,48 * * * *", close_due_months),
        *_collecting(stripe_access.means(database, clock, configured, stripe)),
        *([] if stripe is None else _at_stripe(_surroundings(database, clock, configured, stripe))),
    ]


def _surroundings(database: Database, clock: Clock, configured: Settings, stripe: StripeClient) -> Surroundings:
    return Surroundings(database, stripe, clock, stripe_access.policy(configured))


def _collecting(means: Means) -> list[Schedule]:
    """What happens by itself until invoices are paid; without Stripe, what is past due is told."""

    async def collect() -> None:
        await payments.collect_due(means)

    async def reconcile() -> None:
        await payments.reconcile(means)

    nightly = [] if means.door is None else [Schedule("reconciliation", "19 * * * *", reconcile)]
    return [Schedule("collections", "* * * * * */20", collect), *nightly]


def _at_stripe(at: Surroundings) -> list[Schedule]:
    """What happens by itself where payments are set up."""

    async def process_events() -> None:
        await payments.process_due_events(at)

    async def look_after_top_ups() -> None:
        await payments.look_after_due_top_ups(at)

    async def forget_events() -> None:
        await payments.forget_events(at.database, at.clock)

    return [
        Schedule("stripe-events", "* * * * * */5", process_events),
        Schedule("top-ups", "* * * * * */30", look_after_top_ups),
        Schedule("stripe-events-forget", "41 4 * * *", forget_events),
    ]


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
    stripe = stripe_access.client(configured)
    pool = await databases.connect_pool(configured.database_url, connections_max=_RECOVERY_CONNECTIONS_MAX)
    try:
        # The worker meters nothing itself, but records what gateway processes left that are gone.
        async with ledger_access.metered(pool, clock, configured):
            await jobs.run_worker(configured.database_url, schedules(database, clock, configured, stripe), stop)
    finally:
        if stripe is not None:
            await stripe.close()
        await pool.close()
        await database.close()
