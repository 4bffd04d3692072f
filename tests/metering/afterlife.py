"""Processes that die, those that come after them, and what these find and make of it."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.metering.scene import Caller, Scene, costing

from tollgate.infra import estate, spool
from tollgate.kit.ids import CallId
from tollgate.metering import safekeeping
from tollgate.metering.model import CallStatus, Settlement
from tollgate.metering.recovery import Recovery
from tollgate.metering.service import Meter


async def die(meter: Meter) -> None:
    """What a kill does: nothing more is sent, the files stay as they are, and the kernel lets go of the lock."""
    sender, safe = meter._sender, meter.safe
    for passenger in sender._batches._waiting:
        passenger.answer.cancel()
    sender._batches._waiting.clear()
    doomed = {*sender._batches._flights, *sender._stragglers}
    for task in doomed:
        task.cancel()
    await asyncio.gather(*doomed, return_exceptions=True)
    safe._disk.shutdown()
    safe._journal.close()
    if safe._spool is not None:
        safe._spool.close()
    safe._estate.leave()


def recovering(scene: Scene, folder: Path, *, pool: Any = None, **meter: Any) -> Recovery:
    """A living process that looks around in the folder."""
    pool = pool or scene.pool
    return Recovery(pool, scene.clock, scene.meter(pool=pool, folder=folder, **meter), folder)


async def begun(scene: Scene, caller: Caller, meter: Meter) -> CallId:
    """A call that holds a dollar through this meter."""
    return (await meter.admit(scene.request(caller))).call_id


def partial(caller: Caller, call_id: CallId, scene: Scene, amount: str = "0.25") -> Settlement:
    """What to record of a call if its process dies now."""
    return costing(caller, call_id, scene.clock.at, amount, status=CallStatus.RECOVERED, estimated=True)


async def recorded(scene: Scene, caller: Caller) -> list[tuple[str, Decimal]]:
    """Status and amount of the caller's records, in the order of the calls."""
    rows = await scene.pool.fetch(
        "SELECT status, amount FROM calls WHERE organization_id = $1 ORDER BY id", caller.organization_id
    )
    return [(row["status"], row["amount"]) for row in rows]


async def is_clear(scene: Scene, caller: Caller) -> bool:
    """Whether nothing is held for the caller."""
    counter = await scene.counter(caller)
    return not await scene.holds(caller) and (counter["total_held"], counter["concurrent"]) == (0, 0)


def estates(folder: Path, *living: Recovery) -> list[UUID]:
    """Those that are there beside those of the living."""
    own = {each._meter.safe.process_id for each in living}
    return [UUID(path.name) for path in estate.all_in(folder) if UUID(path.name) not in own]


def refused_by(keeper: Recovery | Meter) -> dict[UUID, tuple[bytes, str]]:
    """What lies in its spool for a person to look at."""
    meter = keeper._meter if isinstance(keeper, Recovery) else keeper
    return spool.refused(meter.safe._estate.path / safekeeping.SPOOL_FILE)


async def told_of(scene: Scene) -> dict[CallId, bytes]:
    """What the ledger was told of calls under way."""
    rows = await scene.pool.fetch("SELECT call_id, checkpoint FROM holds WHERE checkpoint IS NOT NULL")
    return {row["call_id"]: row["checkpoint"].encode() for row in rows}
