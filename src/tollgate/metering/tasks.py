"""What is left of grants that ended, posted batch by batch until none is due."""

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.ledger import service as ledger


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
