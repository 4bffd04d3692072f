"""What happens by itself: what is left of grants that ended is posted, and what was used is folded into sums."""

from tollgate.infra import telemetry
from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.ledger import service as ledger
from tollgate.metering import folding


async def end_grants(database: Database, clock: Clock) -> int:
    """Close every grant that ended and that no call under way may still burn; answers how many were closed.

    Each batch is a transaction of its own, so that nobody waits long for the locks of its organizations.
    """
    ended = 0
    while True:
        async with database.write() as session:
            closed = await ledger.end_grants(session, now=clock.now())
        ended += closed
        if closed == 0:
            return ended


async def fold_usage(database: Database) -> int:
    """Fold the usage of every organization that has much of it; answers how many these were.

    The cut is a transaction of its own: settlements of the organization wait for that one, and not for the sums.
    """
    async with database.read() as session:
        organization_ids = await folding.with_much(session)
    for organization_id in organization_ids:
        async with database.write() as session:
            cut = await folding.cut(session, organization_id)
        async with database.write() as session:
            rows = await folding.fold(session, organization_id, up_to=cut)
        telemetry.ROLLUPS_FOLDED.inc(rows)
    return len(organization_ids)
