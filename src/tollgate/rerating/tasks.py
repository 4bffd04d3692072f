"""Going on with re-rates: each organization in transactions of its own, and none stopped by another's failure.

Any number of processes may do this at once, and any of them may die: what is to be done are rows, each taken up by one
process at a time, and given up again when its lease is over.
"""

from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.infra import telemetry
from tollgate.infra.database import DATABASE_AWAY, Database
from tollgate.kit import ids
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import RerateId
from tollgate.kit.period import QUARTER_HOUR
from tollgate.rerating import rules, service
from tollgate.rerating.model import Key, Rerate, RerateState, Result, Sum

STRETCH = timedelta(days=7)
"""How much time's rollups one statement reads; half of it after each failure."""
_HALVINGS_MAX = 10
_TURN = timedelta(minutes=1)
_RENEWED_AFTER = timedelta(minutes=3)
"""How long a measurement goes on before its lease is renewed, which is of ten minutes."""

Progress = Callable[[], None]
"""Called after each organization."""

_log = structlog.get_logger(__name__)


def _quietly() -> None:
    """Report no progress."""


async def ask_for_all(database: Database) -> None:
    """Ask for a job for every re-rate that is being measured or applied; so other workers join those who are at it."""
    async with database.write() as session:
        await service.ask_for_all(session)


async def go_on_for_a_while(database: Database, clock: Clock, subject: str) -> None:
    """Go on with a re-rate, until nothing of it can be taken up or others are to have their turn."""
    await go_on(database, clock, RerateId(ids.parse("rerate", subject)), take_for=_TURN)


async def go_on(
    database: Database,
    clock: Clock,
    rerate_id: RerateId,
    *,
    progress: Progress = _quietly,
    stretch: timedelta = STRETCH,
    take_for: timedelta = timedelta.max,
) -> Rerate:
    """Measure, or post, whatever of the re-rate can be taken up now, and that long; answers how far it has come.

    Raises:
        NotFound: there is no such re-rate.
    """
    async with database.read() as session:
        rerate = await service.get(session, rerate_id)
    began = clock.now()
    if rerate.state in service.LEASES:
        while clock.now() - began < take_for and await _next(database, clock, rerate, stretch):
            progress()
    async with database.write() as session:
        return await service.end_phase(session, await service.get(session, rerate_id), now=clock.now())


async def _next(database: Database, clock: Clock, rerate: Rerate, stretch: timedelta) -> bool:
    """Do what is to be done for one organization; false if there is none to take up."""
    async with database.write() as session:
        taken = await service.take(session, rerate, now=clock.now())
    if taken is None:
        return False
    result, attempts = taken
    try:
        if rerate.state is RerateState.MEASURING:
            size = max(stretch / 2 ** min(attempts, _HALVINGS_MAX), QUARTER_HOUR)
            await _measure(database, clock, (rerate, result), size - size % QUARTER_HOUR)
        else:
            async with database.write() as session:
                await service.post(session, rerate, result, now=clock.now())
    except (TollgateError, SQLAlchemyError, *DATABASE_AWAY) as error:
        telemetry.RERATE_FAILURES.inc()
        owner = str(result.organization_id)
        _log.warning("rerate.failed", rerate_id=str(rerate.id), organization_id=owner, **telemetry.raised(error))
    return True


async def _measure(database: Database, clock: Clock, asked: tuple[Rerate, Result], size: timedelta) -> None:
    rerate, result = asked
    async with database.read() as session:
        question, extent, zone = await service.question(session, rerate, result)
    found: dict[Key, Sum] = {}
    renew_at = clock.now() + _RENEWED_AFTER
    for each in () if extent is None else rules.stretches(extent, question.edges, size):
        async with database.read() as session:
            sums = await service.sums(session, question, each)
        for key, records in sums.items():
            found[key] = found[key] + records if key in found else records
        if clock.now() >= renew_at:
            async with database.write() as session:
                if not await service.renew(session, result, now=clock.now()):
                    return
            renew_at = clock.now() + _RENEWED_AFTER
    async with database.write() as session:
        await service.save(session, result, await service.answer(session, question, found, zone), now=clock.now())
