"""Folding: whatever was folded, and whenever, usage is what the rollups say."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.metering.scene import Caller, Scene, a_settlement, costing, fold_usage

from tollgate.entrypoints import doctor
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.kit.period import QUARTER_HOUR, Period, quarter_hour
from tollgate.metering import folding, rules, sums, tasks

ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"]
START = datetime(2026, 10, 20, tzinfo=UTC)
"""Clocks change within the weeks after it, on both sides of the equator."""
MONROVIA_WAS_AWRY = datetime(1971, 5, 10, tzinfo=UTC)

steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 50 * 96), st.integers(0, 1), st.integers(1, 3)),  # when, whose key, how much
        st.just("fold"),
        st.sampled_from(ZONES),  # the organization moves there
    ),
    max_size=10,
)
windows = st.tuples(st.integers(0, 25 * 96), st.integers(0, 30 * 96)).map(
    lambda each: Period(START + each[0] * QUARTER_HOUR, START + (each[0] + each[1]) * QUARTER_HOUR)
)


async def used(
    scene: Scene, organization_id: OrganizationId, window: Period, *starts: datetime
) -> list[tuple[object, ...]]:
    """What the sums and the rollups beside them say, piece by piece of the window."""
    starts = (window.start, *starts)
    async with scene.database.read() as session:
        at = await sums.position(session, organization_id)
        asked = sums.asked(organization_id, at, window=window, starts=starts, cut=at.cut)
        rows = await session.execute(
            sa.text(f"""
                WITH {sums.RECORDS}
                SELECT width_bucket(bucket, :starts), key_id, kind, unit_price, sum(calls), sum(quantity), sum(amount)
                FROM records GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
            """).bindparams(*sums.BINDS),
            asked,
        )
        return [tuple(row) for row in rows]


async def recorded(
    scene: Scene, organization_id: OrganizationId, window: Period, *starts: datetime
) -> list[tuple[object, ...]]:
    rows = await scene.pool.fetch(
        """
        SELECT width_bucket(bucket, $4), key_id, kind, unit_price, sum(calls), sum(quantity), sum(amount) FROM rollups
        WHERE organization_id = $1 AND bucket >= $2 AND bucket < $3 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        """,
        organization_id,
        window.start,
        window.end,
        [window.start, *starts],
    )
    return [tuple(row) for row in rows]


async def complaints(scene: Scene) -> tuple[str, ...]:
    report = await doctor.examine(scene.database)
    return tuple(name for name in report.complaints if name.startswith("usage"))


async def called(scene: Scene, caller: Caller, at: datetime, prompt: int = 1) -> None:
    await scene.settle(a_settlement(caller, CallId(new_id(at)), at, prompt=prompt))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps, window=windows, cut=st.integers(0, 20 * 96))
async def test_usage_is_the_sum_of_its_rollups_whatever_was_folded_and_wherever_the_organization_moved(
    shared_scene: Scene, history: list[tuple[int, int, int] | str], window: Period, cut: int
) -> None:
    scene = shared_scene
    caller = await scene.a_caller(credit="1000", timezone="America/New_York")
    callers = [caller, await scene.a_key(caller.organization_id)]
    for step in history:
        if step == "fold":
            await fold_usage(scene.database, caller.organization_id)
        elif isinstance(step, str):
            await scene.pool.execute(
                "UPDATE organizations SET timezone = $1 WHERE id = $2", step, caller.organization_id
            )
        else:
            at, whose, prompt = step
            await called(scene, callers[whose], START + at * QUARTER_HOUR, prompt)

    for starts in ((), (window.start + cut * QUARTER_HOUR,)):
        assert await used(scene, caller.organization_id, window, *starts) == await recorded(
            scene, caller.organization_id, window, *starts
        )


class TestFolding:
    async def test_leaves_nothing_of_a_whole_month_to_the_rollups(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1000", timezone="Asia/Kathmandu")
        for day in (1, 15, 30):
            await called(scene, caller, datetime(2026, 10, day, 23, 59, tzinfo=UTC))
        await fold_usage(scene.database, caller.organization_id)
        _, (month,) = rules.stretches(Period(START, START + QUARTER_HOUR), ZoneInfo("Asia/Kathmandu"))
        before = await used(scene, caller.organization_id, month)

        await scene.pool.execute("DELETE FROM rollups")

        assert await used(scene, caller.organization_id, month) == before != []

    async def test_happens_once_however_many_fold_at_a_time(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1000")
        for day in range(1, 9):
            await called(scene, caller, datetime(2026, 10, day, tzinfo=UTC))

        await asyncio.gather(*(fold_usage(scene.database, caller.organization_id) for _ in range(5)))
        await fold_usage(scene.database, caller.organization_id)

        assert await complaints(scene) == ()

    async def test_goes_on_while_calls_settle(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1000")

        async def settle() -> None:
            for n in range(40):
                at = START + n * timedelta(hours=7)
                await scene.settle(costing(caller, CallId(new_id(at)), at, "0.25"))

        async def fold() -> None:
            for _ in range(10):
                await fold_usage(scene.database, caller.organization_id)

        await asyncio.gather(settle(), fold(), fold())

        window = Period(START, START + timedelta(days=30))
        amounts = [row[-1] for row in await used(scene, caller.organization_id, window)]
        assert sum(amount for amount in amounts if isinstance(amount, Decimal)) == 10
        assert await complaints(scene) == ()

    async def test_begins_with_whoever_used_much(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folding, "ROWS_UNFOLDED", 5)
        little, much = await scene.a_caller(credit="1000"), await scene.a_caller(credit="1000")
        await called(scene, little, START)
        for n in range(3):
            await called(scene, much, START + n * QUARTER_HOUR)

        rows = await scene.pool.fetchval(
            "SELECT count(*) FROM rollups WHERE organization_id = $1", much.organization_id
        )
        before = REGISTRY.get_sample_value("tollgate_rollups_folded_total") or 0

        assert await tasks.fold_usage(scene.database) == 1
        assert await tasks.fold_usage(scene.database) == 0

        assert REGISTRY.get_sample_value("tollgate_rollups_folded_total") == before + rows

        folded = await scene.pool.fetch("SELECT organization_id, cut FROM usage_folds")
        assert [tuple(row) for row in folded] == [(much.organization_id, 0)]


@given(at=st.integers(1, 29_000), hours=st.integers(0, 23), zone=st.sampled_from(ZONES))
def test_stretches_are_days_and_whole_months_on_quarter_hours(at: int, hours: int, zone: str) -> None:
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=at, hours=hours)

    days, months = rules.stretches(Period(start, start + QUARTER_HOUR), ZoneInfo(zone))

    for each in (*days, *months):
        assert quarter_hour(each.start) == each.start
        assert quarter_hour(each.end) == each.end
    for month in months:
        assert (days[0].start, days[-1].end) == (month.start, month.end)
        assert all(one.end == following.start for one, following in pairwise(days))


def test_clocks_that_were_not_set_by_quarter_hours_leave_stretches_out() -> None:
    extent = Period(MONROVIA_WAS_AWRY, MONROVIA_WAS_AWRY + QUARTER_HOUR)

    assert rules.stretches(extent, ZoneInfo("Africa/Monrovia")) == ([], [])
