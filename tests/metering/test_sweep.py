"""What a lost machine held goes back when its leases end, and its calls are recorded as far as the ledger was told."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from tests.metering.afterlife import begun, is_clear, partial, recorded, recovering, refused_by, told_of
from tests.metering.line import Line
from tests.metering.scene import LEASE, Scene, costing

from tollgate.metering import letters, store
from tollgate.metering.service import ADMIT_SECONDS_MAX


@pytest.fixture
async def scene(shared_scene: Scene) -> Scene:
    """On a ledger that holds nothing of whoever was there before."""
    await shared_scene.pool.execute("TRUNCATE holds")
    return shared_scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "estates"


class TestSweep:
    async def test_settles_by_what_the_ledger_was_told_and_gives_the_rest_back(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, lost, sweeper = await scene.a_caller(credit="10"), scene.meter(), recovering(scene, folder)
        told, untold, living = [await begun(scene, caller, lost) for _ in range(3)]
        for amount in ("0.25", "0.5"):
            letter = letters.written(partial(caller, told, scene, amount))
            await store.checkpoint(scene.pool, [(caller.organization_id, told, letter)])
        await scene.expire(told, untold)
        assert await sweeper.sweep() == 2
        assert await recorded(scene, caller) == [("recovered", Decimal("0.5"))]
        assert [row["call_id"] for row in await scene.holds(caller)] == [living]
        assert await sweeper.sweep() == 0

    async def test_is_one_processes_turn_at_a_time(self, scene: Scene, folder: Path) -> None:
        caller, sweepers = await scene.a_caller(credit="100"), [recovering(scene, folder) for _ in range(4)]
        held = [await begun(scene, caller, sweepers[0]._meter) for _ in range(30)]
        await scene.expire(*held)
        assert sorted(await asyncio.gather(*(each.sweep() for each in sweepers))) == [0, 0, 0, 30]
        assert await is_clear(scene, caller)

    async def test_begins_all_leases_anew_when_nobody_had_swept_for_long(self, scene: Scene, folder: Path) -> None:
        caller, lost, sweeper = await scene.a_caller(credit="10"), scene.meter(), recovering(scene, folder)
        told, untold, over = [await begun(scene, caller, lost) for _ in range(3)]
        letter = letters.written(partial(caller, told, scene))
        await store.checkpoint(scene.pool, [(caller.organization_id, told, letter)])
        await scene.expire(told, untold)
        await scene.pool.execute("UPDATE holds SET lease_until = '-infinity' WHERE call_id = $1", over)
        await scene.pool.execute("UPDATE recovery SET swept_at = clock_timestamp() - interval '1 hour'")
        async with asyncio.timeout(5):
            await sweeper.sweep()
            await sweeper.sweep()
        assert await recorded(scene, caller) == []
        assert {row["call_id"] for row in await scene.holds(caller)} == {told, untold}
        lasting = "SELECT bool_and(lease_until > clock_timestamp() + $1) FROM holds"
        assert await scene.pool.fetchval(lasting, LEASE - timedelta(seconds=30))

    async def test_is_not_held_up_by_letters_that_nobody_reads_or_the_ledger_never_takes(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, lost, sweeper = await scene.a_caller(credit="10"), scene.meter(), recovering(scene, folder)
        garbled, poisoned, sound, silent = [await begun(scene, caller, lost) for _ in range(4)]
        bad = partial(caller, poisoned, scene)
        bad = bad._replace(call=bad.call._replace(quantities="{"))
        for call_id, letter in (
            (garbled, b"garbled"),
            (poisoned, letters.written(bad)),
            (sound, letters.written(partial(caller, sound, scene))),
        ):
            await store.checkpoint(scene.pool, [(caller.organization_id, call_id, letter)])
        await scene.expire(garbled, poisoned, sound, silent)
        for _ in range(2):
            await sweeper.sweep()
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert await is_clear(scene, caller)
        assert set(refused_by(sweeper)) == {garbled, poisoned}

    async def test_settles_what_the_ledger_does_not_take_in_time_by_way_of_the_disk(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, lost = await scene.a_caller(credit="10"), scene.meter()
        sweeper = recovering(scene, folder, settle_timeout_seconds=0)
        told = await begun(scene, caller, lost)
        letter = letters.written(partial(caller, told, scene))
        await store.checkpoint(scene.pool, [(caller.organization_id, told, letter)])
        await scene.expire(told)
        for _ in range(2):
            await sweeper.sweep()
        await sweeper._meter.drained()
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert await is_clear(scene, caller)
        assert sweeper._meter.safe.known == []


class TestLeases:
    async def test_of_calls_under_way_last_on_and_of_unknown_old_holds_end(self, scene: Scene, folder: Path) -> None:
        caller, living = await scene.a_caller(credit="10"), recovering(scene, folder)
        meter = living._meter
        known, spooled, unknown = [await begun(scene, caller, meter) for _ in range(3)]
        elsewhere = await begun(scene, caller, scene.meter())
        for call_id in (known, spooled):
            meter.note(partial(caller, call_id, scene))
        await meter.safe.keep([partial(caller, spooled, scene)], scene.clock.at)
        held_for = timedelta(seconds=ADMIT_SECONDS_MAX + 6)
        await scene.pool.execute("UPDATE holds SET lease_until = lease_until - $1::interval", held_for)
        young = await begun(scene, caller, meter)
        await scene.expire(known, spooled)
        await living.renew()
        rows = await scene.pool.fetch("SELECT call_id FROM holds WHERE lease_until > clock_timestamp()")
        assert sorted(row["call_id"] for row in rows) == sorted([known, spooled, young, elsewhere])
        assert await living.sweep() == 1
        assert unknown not in [row["call_id"] for row in await scene.holds(caller)]

    async def test_are_renewed_only_when_half_of_them_is_gone(self, scene: Scene, folder: Path) -> None:
        caller, living = await scene.a_caller(credit="10"), recovering(scene, folder)
        call_id = await begun(scene, caller, living._meter)
        living._meter.note(partial(caller, call_id, scene))
        untouched = await scene.pool.fetchval("SELECT xmin::text || lease_until FROM holds")
        await living.renew()
        assert await scene.pool.fetchval("SELECT xmin::text || lease_until FROM holds") == untouched


class TestCheckpoints:
    async def test_are_of_calls_that_have_gone_on_for_a_while_and_of_what_is_new(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, line = await scene.a_caller(credit="10"), Line(scene.pool)
        living = recovering(scene, folder, pool=line)
        meter = living._meter
        old = await begun(scene, caller, meter)
        meter.note(partial(caller, old, scene))
        scene.clock.at += timedelta(seconds=2)
        young = await begun(scene, caller, meter)
        meter.note(partial(caller, young, scene))
        await living.checkpoint()
        told = await told_of(scene)
        assert set(told) == {old}
        assert letters.read(told[old]).call.amount == Decimal("0.25")
        before = len(line.asked)
        await living.checkpoint()
        assert len(line.asked) == before
        meter.note(partial(caller, old, scene, "0.5"))
        await living.checkpoint()
        assert letters.read((await told_of(scene))[old]).call.amount == Decimal("0.5")

    async def test_are_told_again_if_the_ledger_did_not_hear_them(self, scene: Scene, folder: Path) -> None:
        caller, line = await scene.a_caller(credit="10"), Line(scene.pool)
        living = recovering(scene, folder, pool=line)
        call_id = await begun(scene, caller, living._meter)
        living._meter.note(partial(caller, call_id, scene))
        scene.clock.at += timedelta(seconds=2)
        line.cut()
        with pytest.raises(ConnectionRefusedError):
            await living.checkpoint()
        line.mend()
        await living.checkpoint()
        assert set(await told_of(scene)) == {call_id}

    async def test_skip_what_is_being_settled(self, scene: Scene, folder: Path) -> None:
        caller, living = await scene.a_caller(credit="10"), recovering(scene, folder)
        settling, other = [await begun(scene, caller, living._meter) for _ in range(2)]
        letter = letters.written(partial(caller, settling, scene))
        async with scene.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM holds WHERE call_id = $1 FOR UPDATE", settling)
            async with asyncio.timeout(2):
                told = [(caller.organization_id, each, letter) for each in (settling, other)]
                await store.checkpoint(scene.pool, told)
        assert set(await told_of(scene)) == {other}

    async def test_and_settlements_of_the_same_calls_never_lock_each_other_out(self, scene: Scene) -> None:
        callers = [await scene.a_caller(credit="1000") for _ in range(2)]
        meter = scene.meter()
        for _ in range(6):
            held = [(caller, await begun(scene, caller, meter)) for caller in callers for _ in range(10)]
            told = [
                (caller.organization_id, call_id, letters.written(partial(caller, call_id, scene)))
                for caller, call_id in held
            ]
            ended = [costing(caller, call_id, scene.clock.at, "1") for caller, call_id in held]
            async with asyncio.TaskGroup() as group:
                group.create_task(store.checkpoint(scene.pool, told[::-1]))
                group.create_task(scene.settle(*ended[:10]))
                group.create_task(store.checkpoint(scene.pool, told))
                group.create_task(scene.settle(*ended[::-1]))
                renewing = store.renew_leases(
                    scene.pool, meter.safe.process_id, [call_id for _, call_id in held],
                    unknown_after=LEASE, lease=4 * LEASE,
                )  # fmt: skip
                group.create_task(renewing)
        for caller in callers:
            assert (await scene.counter(caller))["total_used"] == 60
            assert await is_clear(scene, caller)


class TestLateSettlements:
    @pytest.mark.parametrize(("late", "counted"), [("0.75", 1), ("0.25", 0)])
    async def test_change_nothing_and_are_counted_if_they_differ(
        self, scene: Scene, folder: Path, late: str, counted: int
    ) -> None:
        caller, slow, sweeper = await scene.a_caller(credit="10"), scene.meter(), recovering(scene, folder)
        call_id = await begun(scene, caller, slow)
        letter = letters.written(partial(caller, call_id, scene))
        await store.checkpoint(scene.pool, [(caller.organization_id, call_id, letter)])
        await scene.expire(call_id)
        assert await sweeper.sweep() == 1
        before = REGISTRY.get_sample_value("tollgate_late_settlements_total") or 0
        await slow.settle(costing(caller, call_id, scene.clock.at, late))
        assert REGISTRY.get_sample_value("tollgate_late_settlements_total") == before + counted
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert (await scene.counter(caller))["total_used"] == Decimal("0.25")
