"""What is told to be recorded is on the disk, though settling itself does not wait for that."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.metering.scene import Pool, Scene, costing

from tollgate.metering import store

WRITTEN = "SELECT pg_current_wal_insert_lsn()"
FLUSHED = "SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn"


@pytest.fixture
async def durable(database_url: str) -> AsyncIterator[Pool]:
    """Connections that wait for the disk, as they do everywhere but in tests."""
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=2, server_settings={"synchronous_commit": "on"}
    ) as pool:
        yield pool


async def test_a_settlement_is_flushed_before_it_is_answered(scene: Scene, durable: Pool) -> None:
    caller = await scene.a_caller(credit="100")
    for _ in range(20):
        ended = costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "1")
        before = await scene.pool.fetchval(WRITTEN)
        await store.settle(durable, [ended], now=scene.clock.at)
        assert await scene.pool.fetchval(FLUSHED, before)


async def test_so_is_one_that_another_process_had_recorded_and_not_flushed(scene: Scene, durable: Pool) -> None:
    caller = await scene.a_caller(credit="100")
    for _ in range(20):
        ended = costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "1")
        await scene.pool.fetch(
            "SELECT * FROM settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)",
            [ended.call],
            ended.charges,
            ended.attempts,
            scene.clock.at,
        )
        recorded = await scene.pool.fetchval(WRITTEN)
        (settled,) = await store.settle(durable, [ended], now=scene.clock.at)
        assert not settled.recorded
        assert await scene.pool.fetchval(FLUSHED, recorded)


async def test_settling_alone_does_not_wait_for_the_disk(scene: Scene, durable: Pool) -> None:
    caller = await scene.a_caller(credit="100")
    flushed = []
    for _ in range(20):
        ended = costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "1")
        await durable.fetch(
            "SELECT * FROM settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)",
            [ended.call],
            ended.charges,
            ended.attempts,
            scene.clock.at,
        )
        flushed.append(await scene.pool.fetchval(FLUSHED, await scene.pool.fetchval(WRITTEN)))
    assert not all(flushed)
