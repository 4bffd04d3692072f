"""Every migration can be undone: what it made is gone, and it can be applied again."""

from datetime import timedelta

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from tests.metering.scene import Scene, a_settlement

from tollgate.entrypoints import doctor
from tollgate.infra import migrations, upgrades
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId
from tollgate.metering.model import Settlement
from tollgate.statistics import service as statistics
from tollgate.statistics.model import Grain, Tally

OURS = """
    SELECT 'relation ' || c.relname FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure FROM pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'type ' || t.typname FROM pg_type AS t
    WHERE t.typnamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = t.oid AND d.deptype = 'e')
    ORDER BY 1
"""


async def down_to(url: str, revision: str) -> None:
    def down(connection: Connection) -> None:
        attributes = {"connection": connection}
        command.downgrade(Config(toml_file=migrations.ROOT / "pyproject.toml", attributes=attributes), revision)
        connection.commit()

    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    async with engine.connect() as connection:
        await connection.run_sync(down)
    await engine.dispose()


async def _things(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(OURS)]
    finally:
        await connection.close()


@pytest.mark.parametrize("revision", ["0002_catalogue_and_prices", "base"])
async def test_what_was_undone_can_be_done_again(database_url: str, revision: str) -> None:
    complete = await _things(database_url)
    await down_to(database_url, revision)
    left = await _things(database_url)
    assert not any(name in each for each in left for name in ("ledger", "calls", "counters", "uuid7", "record"))
    if revision == "base":
        assert left == [
            "relation alembic_version",
            "relation alembic_version_pkc",
            "type _alembic_version",
            "type alembic_version",
        ]
    await upgrades.upgrade(database_url)
    assert await _things(database_url) == complete


async def test_a_settle_that_did_not_answer_the_amount_yet_gives_way(database_url: str, scene: Scene) -> None:
    caller = await scene.a_caller()
    await down_to(database_url, "0009_recovery")
    connection = await asyncpg.connect(database_url)
    arguments = "call_record[], charge_record[], attempt_record[], timestamptz"
    await connection.execute(f"""
        DROP FUNCTION settle({arguments});
        CREATE FUNCTION settle({arguments}) RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric)
            LANGUAGE sql AS 'SELECT NULL::uuid, false, 0::numeric'
    """)
    await connection.close()

    await upgrades.upgrade(database_url)
    settlement = a_settlement(caller, CallId(new_id(scene.clock.at)), scene.clock.at, prompt=100)
    await _settle(database_url, settlement)

    assert await scene.pool.fetchval("SELECT amount FROM calls") == settlement.call.amount


async def test_calls_settle_before_and_after_the_estimate_and_are_kept_on_the_way(
    database_url: str, scene: Scene
) -> None:
    at = scene.clock.now()
    caller = await scene.a_caller()
    first, second, third = (a_settlement(caller, CallId(new_id(at)), at, prompt=100) for _ in range(3))
    estimate = '{"prompt": 7}'
    await _settle(database_url, first._replace(call=first.call._replace(estimate=estimate)))

    await down_to(database_url, "0006_jobs")
    await _settle(database_url, second, columns=len(second.call) - 1)
    await upgrades.upgrade(database_url)
    await _settle(database_url, third._replace(call=third.call._replace(estimate=estimate)))

    rows = {row["id"]: row for row in await scene.pool.fetch("SELECT id, amount, estimate FROM calls")}
    assert [rows[each.call.call_id]["estimate"] for each in (first, second, third)] == [None, None, estimate]
    assert {row["amount"] for row in rows.values()} == {first.call.amount}


async def _settle(url: str, settlement: Settlement, *, columns: int | None = None) -> None:
    """Settle as a process does that has just been started, by the record of its time: its first so many columns."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)",
            [tuple(settlement.call)[:columns]],
            settlement.charges,
            settlement.attempts,
            settlement.call.accepted_at,
        )
    finally:
        await connection.close()


async def test_calls_before_there_were_statistics_are_in_none_and_nobody_misses_them(
    database_url: str, scene: Scene
) -> None:
    at = scene.clock.at = await scene.pool.fetchval("SELECT date_trunc('milliseconds', clock_timestamp())")
    caller = await scene.a_caller(credit="1")
    before, after = (a_settlement(caller, CallId(new_id(at)), at, prompt=100) for _ in range(2))
    await down_to(database_url, "0009_recovery")
    await _settle(database_url, before)

    await upgrades.upgrade(database_url)
    await _settle(database_url, after)

    async with scene.database.write() as session:
        assert await statistics.fold(session, now=at) == 1
        (known,) = (await statistics.statistics(session, now=at)).values()
        report = await doctor.examine_snapshot(session)
    assert known.live.tally == known.long.tally == Tally(ok=1)
    assert "endpoint statistics" not in report.complaints

    since = await scene.pool.fetch("SELECT grain, whole_from FROM endpoint_grains")
    assert {row["grain"] for row in since if row["whole_from"] > at + timedelta(hours=1)} == set(Grain)
    await scene.pool.execute("UPDATE endpoint_grains SET whole_from = '-infinity'")
    assert "endpoint statistics" in (await doctor.examine(scene.database)).complaints
