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
GENERATIONS_MAX = 200


async def driven(database: Database, rerate_id: RerateId, chance: Random) -> RerateState:
    """Three processes go on with it and die together, again and again; each generation finds leases that are over."""
    clock = FixedClock(at(12, 2, 9))
    for _ in range(GENERATIONS_MAX):
        works = [asyncio.create_task(tasks.go_on(database, clock, rerate_id)) for _ in range(3)]
        await asyncio.wait(works, timeout=chance.uniform(0.5, 5))
        for work in works:
            work.cancel()
        ends = await asyncio.gather(*works, return_exceptions=True)
        states = {end.state for end in ends if not isinstance(end, BaseException)} - service.LEASES.keys()
        if states:
            return states.pop()
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

    assert await driven(database, begun.id, seeded(1)) is RerateState.MEASURED
    assert difference(await past.tally(begun)) == ORGANIZATIONS * 2 * CALL
    async with database.write() as session:
        await service.apply(session, rerate_id=begun.id, by=None, now=at(12, 2, 9))
    assert await driven(database, begun.id, seeded(2)) is RerateState.APPLIED
    rows = await past.books.pool.fetch("SELECT organization_id, amount FROM adjustments")
    assert {row["organization_id"] for row in rows} == {owner.id for owner in owners}
    assert [row["amount"] for row in rows] == [-2 * CALL] * ORGANIZATIONS
    assert await past.rerated(DOUBLE) == 0
    assert set((await doctor.examine(database)).complaints) <= {"attempts", "partitions"}  # as the builders make calls
    await assert_balanced(past.books.pool)
