"""The worker: does what happens by itself, until a signal."""

import asyncio
import signal
from collections.abc import Mapping

from tollgate.entrypoints import ledger_access, stripe_access
from tollgate.entrypoints.queued import queued
from tollgate.entrypoints.schedules import schedules
from tollgate.infra import children, migrations, settings, telemetry, worker
from tollgate.infra import database as databases
from tollgate.kit.clock import SystemClock

_CONNECTIONS_MAX = 8
"""No job holds two, and none while it waits for somebody else's server; closings and re-rates hold theirs longest."""
_RECOVERY_CONNECTIONS_MAX = 3


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
            scheduled = schedules(database, clock, configured, stripe)
            asked_for = queued(database, clock, configured, stripe)
            await worker.run_worker(configured.database_url, scheduled, asked_for, stop)
    finally:
        if stripe is not None:
            await stripe.close()
        await pool.close()
        await database.close()
