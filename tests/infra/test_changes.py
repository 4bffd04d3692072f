"""The record of changes is only ever added to."""

import asyncpg
import pytest

from tollgate.infra.changes import Act, Action, Deed, Wanted, read, record, subjects
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


async def write(database: Database, clock: FixedClock, *names: str, action: Action = Action.CREATED) -> list[Deed]:
    deeds = [Deed(action, "model", name, None, {"name": name}) for name in names]
    async with database.write() as session:
        await record(session, deeds, act=Act(clock.now()))
    return deeds


async def test_what_was_written_is_given_back(database: Database, clock: FixedClock) -> None:
    deeds = await write(database, clock, *(f"a/{number}" for number in range(2500)))

    async with database.read() as session:
        found = await read(session, Wanted(kind="model"), before=None, count=3000)

    assert sorted((change.deed for change in found), key=lambda deed: int(deed.subject[2:])) == deeds
    assert {change.act for change in found} == {Act(clock.now())}


async def test_nothing_is_recorded_of_nothing(database: Database, clock: FixedClock) -> None:
    await write(database, clock)

    async with database.read() as session:
        assert await read(session, Wanted(), before=None, count=10) == []


async def test_it_tells_to_whom_something_was_ever_done(database: Database, clock: FixedClock) -> None:
    await write(database, clock, "a/1", "a/2")
    await write(database, clock, "a/1", action=Action.DELETED)

    async with database.read() as session:
        assert await subjects(session, kind="model", action=Action.DELETED) == {"a/1"}
        assert await subjects(session, kind="price", action=Action.DELETED) == set()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE catalogue_changes SET subject = 'b'", "DELETE FROM catalogue_changes", "TRUNCATE catalogue_changes"],
)
async def test_it_cannot_be_rewritten(
    database: Database, clock: FixedClock, pool: "asyncpg.Pool[asyncpg.Record]", statement: str
) -> None:
    await write(database, clock, "a/1")

    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(statement)
