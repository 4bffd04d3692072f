"""Sessions: each is found where it was served last, by every process, for an hour."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg

from tollgate.gateway import sessions
from tollgate.gateway.sessions import Sessions, session_of
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import EndpointId, OrganizationId

OURS, THEIRS = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))
HERE, THERE = EndpointId(UUID(int=11)), EndpointId(UUID(int=12))
SESSION = session_of(OURS, "s-1", "acme/model")


async def test_a_session_is_found_by_other_processes_until_an_hour_after_its_last_call(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock
) -> None:
    first, second = Sessions(pool, clock), Sessions(pool, clock)
    assert await first.place_of(SESSION) is None
    first.served(SESSION, HERE)
    await first.save()
    assert await second.place_of(SESSION) == HERE
    clock.at += timedelta(minutes=59)
    assert await second.place_of(SESSION) == HERE
    second.served(SESSION, THERE)
    await second.save()
    assert await first.place_of(SESSION) == THERE
    clock.at += timedelta(minutes=61)
    assert await first.place_of(SESSION) is None


async def test_sessions_of_others_and_of_other_models_are_others(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock
) -> None:
    first, second = Sessions(pool, clock), Sessions(pool, clock)
    first.served(SESSION, HERE)
    await first.save()
    for other in (
        session_of(THEIRS, "s-1", "acme/model"),
        session_of(OURS, "s-2", "acme/model"),
        session_of(OURS, "s-1", "acme/other"),
        session_of(OURS, "\ud800", "acme/model"),
    ):
        assert await first.place_of(other) is None
        assert await second.place_of(other) is None


async def test_a_database_that_is_away_costs_a_call_its_place_and_nothing_else(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock
) -> None:
    known = Sessions(pool, clock)
    known.served(SESSION, HERE)
    await pool.execute("ALTER TABLE session_places RENAME TO away")
    await known.save()
    assert await known.place_of(SESSION) == HERE
    assert await Sessions(pool, clock).place_of(SESSION) is None


async def test_two_processes_that_write_the_same_sessions_wait_for_each_other_in_no_circle(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock
) -> None:
    names = [session_of(OURS, f"s-{number}", "acme/model") for number in range(200)]
    processes = [Sessions(pool, clock) for _ in range(2)]
    for _ in range(10):
        clock.at += timedelta(hours=1)
        for process, order in zip(processes, (names, names[::-1]), strict=True):
            for name in order:
                process.served(name, HERE)
        await asyncio.gather(*(process.save() for process in processes))
    assert await pool.fetchval("SELECT count(*) FROM session_places WHERE served_at = $1", clock.at) == 200


async def test_what_is_over_is_forgotten(
    pool: "asyncpg.Pool[asyncpg.Record]", database: Database, clock: FixedClock
) -> None:
    known = Sessions(pool, clock)
    known.served(SESSION, HERE)
    await known.save()
    clock.at += timedelta(minutes=30)
    known.served(session_of(OURS, "s-2", "acme/model"), HERE)
    await known.save()
    clock.at += timedelta(minutes=31)
    async with database.write() as session:
        await sessions.forget(session, now=clock.at)
    assert await pool.fetchval("SELECT count(*) FROM session_places") == 1
