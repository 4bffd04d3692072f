"""What settling left of how endpoints did, folded batch by batch until nothing waits."""

from tollgate.infra import telemetry
from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.statistics import service


async def fold(database: Database, clock: Clock) -> int:
    """Fold all that waits, each batch in a transaction of its own; answers how many samples there were."""
    folded = 0
    while True:
        async with database.write() as session:
            some = await service.fold(session, now=clock.now())
        telemetry.SAMPLES_FOLDED.inc(some)
        folded += some
        if some < service.SAMPLES_MAX:
            return folded
