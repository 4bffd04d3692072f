"""Folding: any number of workers, each sample once, and no figure changes by it; old buckets go."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.builders import seeded
from tests.conftest import NOON, a_copy
from tests.metering.scene import Pool, Scene
from tests.statistics.calls import DAY, FIVE_MINUTES, HOUR, a_call, assert_true, settled, some_call

from tollgate.entrypoints import doctor
from tollgate.infra import database as databases
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import EndpointId
from tollgate.statistics import service, tasks
from tollgate.statistics.model import Backlog, EndpointStatistics, Grain, Standing
from tollgate.statistics.sketch import RELATIVE_ERROR


async def known(scene: Scene) -> dict[EndpointId, EndpointStatistics]:
    async with scene.database.read() as session:
        return dict(await service.statistics(session, now=scene.clock.now()))


async def standing(scene: Scene) -> dict[EndpointId, Standing]:
    async with scene.database.read() as session:
        return dict(await service.standings(session, now=scene.clock.now()))


async def waiting(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM endpoint_samples"))


def an_endpoint() -> EndpointId:
    return EndpointId(uuid4())


async def complaints(scene: Scene) -> tuple[str, ...]:
    report = await doctor.examine(scene.database)
    return tuple(name for name in report.complaints if name == "endpoint statistics")


class TestFigures:
    async def test_are_what_the_recorded_calls_say_whatever_is_folded_when(self, scene: Scene) -> None:
        """Hundreds of calls of all kinds, over forty days, with folds in between, and at the windows' very edges."""
        chance = seeded(5)
        caller, endpoints = await scene.a_caller(credit="1000"), [an_endpoint() for _ in range(3)]
        ages = [timedelta(seconds=chance.random() * span) for span in [3600, 86_400, 40 * 86_400] for _ in range(250)]
        edges = [timedelta(), FIVE_MINUTES, HOUR, HOUR + FIVE_MINUTES, DAY, 30 * DAY, 30 * DAY + HOUR, 31 * DAY]
        ages += [edge + nudge * timedelta(milliseconds=1) for edge in edges for nudge in (-1, 0, 1)]
        calls = [some_call(chance, caller, NOON - abs(age), endpoints) for age in sorted(ages, reverse=True)]
        third = len(calls) // 3

        figures = []
        for part in (calls[:third], calls[third : 2 * third], calls[2 * third :]):
            await settled(scene, part, chance)
            figures.append(await known(scene))
            await tasks.fold(scene.database, scene.clock)
            assert await known(scene) == figures[-1]

        assert await waiting(scene.pool) == 0
        for endpoint in endpoints:
            await assert_true(scene.pool, endpoint, figures[-1][endpoint], NOON)
            found = (await standing(scene))[endpoint]
            live = figures[-1][endpoint].live
            assert live.latency_ms is not None
            assert live.throughput is not None
            assert found == Standing(live.tally, round(live.latency_ms.p50), round(live.throughput.p50 * 1000))
        assert await complaints(scene) == ()

    async def test_go_on_as_time_does(self, scene: Scene) -> None:
        caller, endpoint = await scene.a_caller(credit="1"), an_endpoint()
        await scene.settle(a_call(caller, NOON, endpoint, streamed=True))
        await tasks.fold(scene.database, scene.clock)

        seen = []
        for passed in (timedelta(), timedelta(minutes=59), timedelta(minutes=6), 23 * HOUR, 29 * DAY, HOUR):
            scene.clock.at += passed
            found = (await known(scene)).get(endpoint, EndpointStatistics())
            seen.append((found.live.tally.ok, found.last_day.ok, found.long.tally.ok))

        assert seen == [(1, 1, 1), (1, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1), (0, 0, 0)]

    async def test_are_none_without_samples(self, scene: Scene) -> None:
        caller, endpoint = await scene.a_caller(credit="1"), an_endpoint()
        await scene.settle(a_call(caller, NOON, endpoint, streamed=False, estimated=True))

        found = (await known(scene))[endpoint]

        assert (found.live.latency_ms, found.live.throughput, found.live.tally.uptime) == (None, None, 1)
        assert an_endpoint() not in await known(scene)


class TestWorkers:
    async def test_fold_each_sample_once_however_many_come_at_a_time(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "SAMPLES_MAX", 7)
        caller, endpoint = await scene.a_caller(credit="1000"), an_endpoint()
        for number in range(60):
            await scene.settle(a_call(caller, NOON - number * timedelta(minutes=1), endpoint, streamed=True))

        async def work() -> int:
            return await tasks.fold(scene.database, scene.clock)

        more = [scene.settle(a_call(caller, NOON, endpoint, streamed=True)) for _ in range(10)]
        folded, _ = await asyncio.gather(asyncio.gather(work(), work(), work()), asyncio.gather(*more))

        assert sum(folded) + await work() == 70
        assert await waiting(scene.pool) == 0
        await assert_true(scene.pool, endpoint, (await known(scene))[endpoint], NOON)

    async def test_find_nothing_to_do_while_another_has_the_turn(self, scene: Scene) -> None:
        await scene.settle(a_call(await scene.a_caller(credit="1"), NOON, an_endpoint()))

        async with scene.database.write() as first, scene.database.write() as second:
            assert await service.fold(first, now=NOON) == 1
            assert await service.fold(second, now=NOON) == 0

    async def test_that_die_leave_everything_to_be_folded_by_the_next(self, scene: Scene) -> None:
        caller, endpoint = await scene.a_caller(credit="1"), an_endpoint()
        await scene.settle(a_call(caller, NOON, endpoint))

        async with scene.database.write() as session:
            assert await service.fold(session, now=NOON) == 1
            await session.rollback()

        assert await waiting(scene.pool) == 1
        assert await tasks.fold(scene.database, scene.clock) == 1
        assert await tasks.fold(scene.database, scene.clock) == 0
        assert (await known(scene))[endpoint].live.tally.ok == 1

    async def test_say_what_waits_and_since_when(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1")
        await scene.settle(a_call(caller, NOON, an_endpoint()))
        scene.clock.at += HOUR
        await scene.settle(a_call(caller, NOON, an_endpoint()))

        async with scene.database.read() as session:
            before = await service.backlog(session)
        await tasks.fold(scene.database, scene.clock)
        async with scene.database.read() as session:
            after = await service.backlog(session)

        assert (before, after) == (Backlog(2, NOON), Backlog(0, None))


class TestRetention:
    async def test_buckets_go_when_no_window_can_ask_for_them(self, scene: Scene) -> None:
        caller, endpoint = await scene.a_caller(credit="1"), an_endpoint()
        await scene.settle(a_call(caller, NOON, endpoint))

        kept = []
        for passed in (timedelta(), 3 * HOUR, FIVE_MINUTES, 35 * DAY - 2 * HOUR, DAY):
            scene.clock.at += passed
            await tasks.fold(scene.database, scene.clock)
            rows = await scene.pool.fetch("SELECT grain FROM endpoint_buckets ORDER BY grain")
            kept.append([Grain(row["grain"]) for row in rows])
            assert await complaints(scene) == ()

        five, hour, day = Grain
        assert kept == [[five, hour, day], [five, hour, day], [hour, day], [day], []]

    async def test_what_comes_too_late_for_a_grain_is_in_the_coarser_ones(self, scene: Scene) -> None:
        caller, endpoint = await scene.a_caller(credit="1"), an_endpoint()
        await tasks.fold(scene.database, scene.clock)
        await scene.settle(a_call(caller, NOON - DAY, endpoint), a_call(caller, NOON - 40 * DAY, endpoint))

        await tasks.fold(scene.database, scene.clock)

        rows = await scene.pool.fetch("SELECT grain, ok FROM endpoint_buckets ORDER BY grain")
        assert [tuple(row) for row in rows] == [(Grain.HOUR, 1), (Grain.DAY, 1)]
        assert await complaints(scene) == ()


@pytest.fixture(scope="module")
async def damageable(server_url: str, template: str) -> AsyncIterator[Scene]:
    """Three endpoints' calls, of which some are folded and some wait."""
    async with a_copy(server_url, template, f"{template}_damaged_statistics") as url:
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=8)
        scene = Scene(database, pool, FixedClock(NOON), 0)
        chance, caller = seeded(11), await scene.a_caller(credit="1000")
        endpoints = [an_endpoint() for _ in range(3)]
        for _ in range(2):
            calls = [some_call(chance, caller, NOON - chance.random() * 2 * HOUR, endpoints) for _ in range(60)]
            await settled(scene, calls, chance)
            if not await pool.fetchval("SELECT count(*) FROM endpoint_buckets"):
                await tasks.fold(database, scene.clock)
        yield scene
        await pool.close()
        await database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "SELECT",
        "UPDATE endpoint_buckets SET ok = ok + 1 WHERE grain = 60",
        "UPDATE endpoint_buckets SET failed = failed + 1 WHERE grain = 1440",
        "UPDATE endpoint_buckets SET latency_sum = latency_sum + 1 WHERE grain = 5",
        "UPDATE endpoint_buckets SET latency_max = latency_max + 1000000 WHERE grain = 5",
        "UPDATE endpoint_buckets SET throughput_min = throughput_min - 1 WHERE grain = 60",
        "UPDATE endpoint_buckets SET throughput_count = throughput_count + 1",
        "DELETE FROM endpoint_buckets WHERE grain = 1440",
        "DELETE FROM endpoint_samples",
        "INSERT INTO endpoint_samples SELECT * FROM endpoint_samples",
        "UPDATE attempts SET latency_ms = latency_ms + 1",
        "DELETE FROM attempts WHERE status = 'served'",
    ],
)
async def test_the_doctor_notices_what_was_changed(damageable: Scene, damage: str) -> None:
    async with damageable.database.write() as session:
        await session.execute(sa.text(damage))
        report = await doctor.examine_snapshot(session)
        await session.rollback()

    found = [each for each in report.results if each.check.name == "endpoint statistics" and each.findings]
    assert bool(found) is (damage != "SELECT")
    assert not any(finding.organization_id for each in found for finding in each.findings)


async def test_quantiles_are_what_postgresql_says_of_the_raw_rows(scene: Scene) -> None:
    caller, endpoint, chance = await scene.a_caller(credit="1000"), an_endpoint(), seeded(23)
    for _ in range(5):
        calls = [
            a_call(caller, NOON, endpoint, streamed=True, first_token_ms=int(chance.lognormvariate(6, 1)))
            for _ in range(31)
        ]
        await scene.settle(*calls)

        spread = (await known(scene))[endpoint].live.latency_ms
        assert spread is not None
        exact = await scene.pool.fetchval(
            "SELECT percentile_disc(ARRAY [0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY latency_ms)"
            " FROM attempts WHERE endpoint_id = $1",
            endpoint,
        )
        assert [spread.p50, spread.p90, spread.p99] == pytest.approx(exact, rel=RELATIVE_ERROR)
