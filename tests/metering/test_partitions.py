"""Calls and attempts live in the partition of their month, made ahead of time or after the fact."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.metering.scene import Scene, costing, everything

from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId

JANUARY = datetime(2027, 1, 1, tzinfo=UTC)


async def settle_at(scene: Scene, *instants: datetime) -> None:
    caller = await scene.a_caller(credit="10")
    await scene.settle(*(costing(caller, CallId(new_id(at)), at, "1") for at in instants))


async def homes(scene: Scene) -> list[tuple[str, str]]:
    rows = await scene.pool.fetch("""
        SELECT c.tableoid::regclass::text, a.tableoid::regclass::text
        FROM calls AS c JOIN attempts AS a ON a.call_id = c.id ORDER BY c.id
    """)
    return [(row[0], row[1]) for row in rows]


async def ensure(scene: Scene, now: datetime, months: int = 3) -> int:
    return int(await scene.pool.fetchval("SELECT ensure_partitions($1, $2)", now, months))


async def test_a_call_lands_in_the_partition_of_its_month(scene: Scene) -> None:
    last = JANUARY - timedelta(milliseconds=1)
    assert await ensure(scene, last) == 6
    await settle_at(scene, last, JANUARY)
    assert await homes(scene) == [("calls_2026_12", "attempts_2026_12"), ("calls_2027_01", "attempts_2027_01")]


async def test_they_are_made_once_however_many_make_them(scene: Scene) -> None:
    made = await asyncio.gather(*(ensure(scene, JANUARY) for _ in range(6)))
    assert sorted(made) == [0, 0, 0, 0, 0, 6]
    assert await ensure(scene, JANUARY + timedelta(days=31)) == 2


async def test_what_the_default_partition_caught_moves_to_its_month(scene: Scene) -> None:
    await settle_at(scene, JANUARY, JANUARY + timedelta(days=200))
    assert await homes(scene) == [("calls_default", "attempts_default")] * 2
    written = await everything(scene.pool)
    assert await ensure(scene, JANUARY) == 6
    assert (await homes(scene))[0] == ("calls_2027_01", "attempts_2027_01")
    assert (await homes(scene))[1] == ("calls_default", "attempts_default")
    assert await everything(scene.pool) == written


async def test_calls_are_settled_while_partitions_are_made(scene: Scene) -> None:
    caller, meter = await scene.a_caller(credit="1000"), scene.meter()
    instants = [JANUARY + timedelta(hours=7 * number) for number in range(300)]
    settling = asyncio.gather(*(meter.settle(costing(caller, CallId(new_id(at)), at, "1")) for at in instants))
    for month in range(3):
        await ensure(scene, JANUARY + timedelta(days=31 * month), 1)
    await settling
    assert await scene.pool.fetchval("SELECT count(*) FROM calls") == 300
    assert await scene.pool.fetchval("SELECT count(*) FROM calls_2027_01") == 107
