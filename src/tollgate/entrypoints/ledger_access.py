"""Ledger access: the meter of this process with everything that keeps its calls safe, wired for gateway and worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import structlog

from tollgate.infra import estate, identity, telemetry
from tollgate.infra.settings import Settings
from tollgate.kit.clock import Clock
from tollgate.metering import recovery
from tollgate.metering.recovery import Recovery
from tollgate.metering.safekeeping import Safekeeping
from tollgate.metering.service import Meter

_AGAIN_SECONDS = 5

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def metered(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, configured: Settings
) -> AsyncIterator[tuple[Meter, Recovery]]:
    """A meter, and for as long as the block runs, the recovery of what other processes left.

    Raises:
        OSError: the data directory cannot be written.
    """
    folder = await recovery.folder_of(pool, configured.data_dir)
    safe = Safekeeping(await asyncio.to_thread(estate.found, folder, identity.new_id(clock.now())))
    meter = Meter(
        pool,
        clock,
        safe,
        settle_timeout_seconds=configured.settle_timeout_seconds,
        lease=timedelta(seconds=configured.lease_seconds),
        offline_allowance=configured.offline_allowance,
    )
    recovering = Recovery(pool, clock, meter, folder)
    running = asyncio.create_task(lasting(recovering.run))
    try:
        yield meter, recovering
    finally:
        running.cancel()
        await asyncio.wait([running])
        await safe.close()


async def lasting(work: Callable[[], Awaitable[None]]) -> None:
    """Do work that never ends, and begin again if it fails: nobody else would notice that it is not done any more."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the log has it and the work goes on
            _log.exception("background work failed", **telemetry.raised(error))
        await asyncio.sleep(_AGAIN_SECONDS)
