"""The worker: every slice's scheduled jobs, wired in one place, run until a signal."""

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping

from tollgate.infra import jobs, migrations, settings, telemetry
from tollgate.infra.jobs import Schedule
from tollgate.infra.settings import Settings


def schedules(_settings: Settings) -> list[Schedule]:
    """Everything that happens by itself, and when."""
    return []


async def work_until_stopped(environment: Mapping[str, str]) -> None:
    """Run due jobs until SIGTERM or SIGINT, then finish those that have begun.

    Raises:
        BadSetting: the environment cannot be understood.
        SchemaMismatch: the database's schema is not the one these jobs were written for.
    """
    configured = settings.read(environment)
    telemetry.configure_logging()
    # The job queue's own library speaks through the standard library.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    await migrations.require_current(configured.database_url)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await jobs.run_worker(configured.database_url, schedules(configured), stop)
