"""A thousand organizations, processes that die at any moment, and every adjustment posted once."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from tests.builders import seeded
from tests.invoices.builders import at
from tests.ledger.books import assert_balanced
from tests.rerating.scene import DOUBLE, Past, difference

from tollgate.entrypoints import doctor
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import RerateId
from tollgate.rerating import service, tasks
from tollgate.rerating.model import RerateState

ORGANIZATIONS = 1000
CALL = Decimal("0.00082")
KILLS_MAX = 400


async def driven(database: Database, rerate_id: RerateId, chance: Random) -> RerateState:
    """Go on with it, die somewhere, and again, until it has come to an end; each life is ten minutes after the last."""
    clock = FixedClock(at(12, 2, 9))
    for _ in range(KILLS_MAX):
        work = asyncio.create_task(tasks.go_on(database, clock, rerate_id))
        done, _ = await asyncio.wait([work], timeout=chance.uniform(0.05, 1.5))
        work.cancel()
        outcome = (await asyncio.gather(work, return_exceptions=True))[0]
        if done and not isinstance(outcome, BaseException) and outcome.state not in service.LEASES:
            return outcome.state
        clock = FixedClock(clock.now() + timedelta(minutes=11))
    raise AssertionError("It never came to an end")


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_thousand_organizations_are_each_corrected_once_whoever_dies(past: Past) -> None:
    owners = [await past.books.an_organization() for _ in range(ORGANIZATIONS)]
    for owner in owners:
        await past.books.record(owner, past.call(at(10, 5)), past.call(at(11, 5)))
    database = past.books.database
    begun = await past.begin(DOUBLE)

    states = await asyncio.gather(*(driven(database, begun.id, seeded(n)) for n in range(3)))
    assert set(states) == {RerateState.MEASURED}
    assert difference(await past.tally(begun)) == ORGANIZATIONS * 2 * CALL
    async with database.write() as session:
        await service.apply(session, rerate_id=begun.id, by=None, now=at(12, 2, 9))
    states = await asyncio.gather(*(driven(database, begun.id, seeded(n)) for n in range(3, 6)))

    assert set(states) == {RerateState.APPLIED}
    rows = await past.books.pool.fetch("SELECT organization_id, amount FROM adjustments")
    assert {row["organization_id"] for row in rows} == {owner.id for owner in owners}
    assert [row["amount"] for row in rows] == [-2 * CALL] * ORGANIZATIONS
    assert await past.rerated(DOUBLE) == 0
    assert (await doctor.examine(database)).complaints == ()
    await assert_balanced(past.books.pool)
