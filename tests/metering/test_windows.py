"""Windows are cut by the clock at admission, in the organization's own calendar, and none is opened twice."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from tests.builders import seeded
from tests.metering.scene import Caller, Pool, Scene, a_settlement, costing

from tollgate.kit import period
from tollgate.kit.ids import CallId, uuid7
from tollgate.metering.model import Settled

WINDOWS = {"daily": "day", "weekly": "week", "monthly": "month"}
STEPS = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=31)}
PERIODS = {"daily": period.day_of, "weekly": period.week_of, "monthly": period.month_of}
ODD_ZONES = (
    "America/New_York",
    "America/Havana",
    "Atlantic/Azores",
    "Asia/Beirut",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Chatham",
)


@pytest.fixture
def scene(shared_scene: Scene) -> Scene:
    return shared_scene


async def outcomes(scene: Scene, caller: Caller, count: int = 2) -> list[str]:
    return [(await scene.hold(caller)).outcome for _ in range(count)]


class TestCrossing:
    @pytest.mark.parametrize("limit", WINDOWS)
    async def test_a_new_window_starts_at_zero_whatever_the_last_one_holds(self, scene: Scene, limit: str) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", **{limit: "1"})
        assert await outcomes(scene, caller) == ["admitted", limit]
        scene.clock.at += STEPS[limit]
        assert await outcomes(scene, caller) == ["admitted", limit]

    @pytest.mark.parametrize("limit", WINDOWS)
    async def test_what_the_last_window_held_neither_uses_nor_frees_the_new_one(self, scene: Scene, limit: str) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "project", **{limit: "2"})
        accepted = scene.clock.at
        earlier = [await scene.hold(caller) for _ in range(2)]
        scene.clock.at += STEPS[limit]
        assert await outcomes(scene, caller, 1) == ["admitted"]
        await scene.settle(costing(caller, earlier[0].call_id, accepted, "0.9"))
        await scene.settle(costing(caller, earlier[1].call_id, accepted, "1.5"))
        counter = await scene.counter(caller, "project")
        assert (counter[f"{WINDOWS[limit]}_used"], counter[f"{WINDOWS[limit]}_held"]) == (0, 1)
        assert (counter["total_used"], counter["total_held"]) == (Decimal("2.4"), 1)
        assert await outcomes(scene, caller) == ["admitted", limit]

    @pytest.mark.parametrize(("limit", "size"), [("rpm", 1), ("tpm", 10)])
    async def test_a_new_minute_starts_at_zero(self, scene: Scene, limit: str, size: int) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", **{limit: size})
        scene.clock.at = scene.clock.at.replace(second=59)
        assert await outcomes(scene, caller) == ["admitted", limit]
        scene.clock.at += timedelta(seconds=1)
        assert await outcomes(scene, caller) == ["admitted", limit]

    async def test_concurrent_calls_are_not_forgotten_with_the_minute(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", concurrency=1)
        first = await scene.hold(caller)
        scene.clock.at += timedelta(days=40)
        assert await outcomes(scene, caller, 1) == ["concurrency"]
        await scene.settle(costing(caller, first.call_id, scene.clock.at, "0"))
        assert await outcomes(scene, caller) == ["admitted", "concurrency"]

    async def test_tokens_are_counted_truly_once_they_are_known(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", tpm=1000)
        frugal, lavish = await scene.hold(caller, tokens=400), await scene.hold(caller, tokens=400)
        await scene.settle(a_settlement(caller, frugal.call_id, scene.clock.at, prompt=50, completion=50))
        assert (await scene.counter(caller, "key"))["minute_tokens"] == 500
        await scene.settle(a_settlement(caller, lavish.call_id, scene.clock.at, prompt=50, completion=850))
        assert (await scene.counter(caller, "key"))["minute_tokens"] == 1000
        assert (await scene.hold(caller, tokens=1)).outcome == "tpm"

    async def test_tokens_of_the_last_minute_do_not_count_in_this_one(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        accepted, answer = scene.clock.at, await scene.hold(caller, tokens=400)
        scene.clock.at += timedelta(minutes=1)
        await scene.hold(caller, tokens=5)
        await scene.settle(a_settlement(caller, answer.call_id, accepted, prompt=900))
        assert (await scene.counter(caller, "key"))["minute_tokens"] == 5

    @pytest.mark.parametrize(
        ("zone", "begins", "first"),
        [("Asia/Tokyo", "00:00", "daily"), ("America/Los_Angeles", "08:00", "admitted")],
    )
    async def test_another_time_zone_reopens_no_day_that_is_over(
        self, scene: Scene, zone: str, begins: str, first: str
    ) -> None:
        """Its day counts from the next minute on if it began later than the one that runs; else what runs goes on."""
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", daily="1")
        held = await scene.hold(caller)
        await scene.pool.execute("UPDATE organizations SET timezone = $1 WHERE id = $2", zone, caller.organization_id)
        scene.clock.at += timedelta(minutes=1)
        assert await outcomes(scene, caller) == [first, "daily"]
        await scene.settle(costing(caller, held.call_id, scene.clock.at, "1"))
        counter = await scene.counter(caller, "key")
        assert counter["day_start"] == datetime.fromisoformat(f"2026-11-22T{begins}Z")
        await assert_holds_add_up(scene.pool, caller)


class TestWithoutAHold:
    async def settle(self, scene: Scene, caller: Caller, accepted: datetime) -> list[Settled]:
        return await scene.settle(costing(caller, CallId(uuid7(accepted, 9)), accepted, "0.75"))

    async def test_a_call_counts_in_the_windows_it_was_accepted_in(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", daily="1")
        await self.settle(scene, caller, scene.clock.at)
        assert (await scene.hold(caller))[1:3] == ("daily", Decimal("0.25"))
        counter = await scene.counter(caller, "key")
        assert [counter[f"{window}_used"] for window in ("total", "day", "week", "month")] == [Decimal("0.75")] * 4

    async def test_a_call_counts_today_though_the_counters_last_moved_yesterday(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", daily="1")
        await outcomes(scene, caller, 1)
        scene.clock.at += timedelta(days=1)
        await self.settle(scene, caller, scene.clock.at)
        assert (await scene.hold(caller))[1:3] == ("daily", Decimal("0.25"))

    async def test_a_call_of_yesterday_does_not_count_today(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await self.settle(scene, caller, scene.clock.at - timedelta(days=1))
        counter = await scene.counter(caller, "key")
        assert (counter["day_used"], counter["total_used"]) == (0, Decimal("0.75"))


class TestClocksThatStepBack:
    @pytest.mark.parametrize("limit", WINDOWS)
    async def test_a_window_that_began_stays(self, scene: Scene, limit: str) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", **{limit: "1"})
        started, later = scene.clock.at, scene.clock.at + STEPS[limit]
        scene.clock.at = later
        assert await outcomes(scene, caller) == ["admitted", limit]
        scene.clock.at = started
        answer = await scene.hold(caller)
        assert (answer.outcome, answer.resets_at) == (limit, PERIODS[limit](later, ZoneInfo("UTC")).end)
        scene.clock.at = later
        assert await outcomes(scene, caller, 1) == [limit]

    async def test_clocks_that_differ_leave_counters_that_add_up(self, scene: Scene) -> None:
        """Calls of several keys are held and settled around midnight by clocks an hour apart."""
        chance = seeded(13)
        first = await scene.a_caller(credit="1000")
        callers = [first, *[await scene.a_key(first.organization_id, first.project_id) for _ in range(2)]]
        midnight = datetime(2026, 12, 1, tzinfo=UTC)
        pending: list[tuple[Caller, CallId]] = []
        for step in range(150):
            scene.clock.at = midnight + timedelta(minutes=step - 75 + chance.randrange(-30, 30))
            if pending and chance.random() < 0.45:
                caller, call_id = pending.pop(chance.randrange(len(pending)))
                await scene.settle(costing(caller, call_id, scene.clock.at, str(chance.randrange(3))))
            else:
                caller = chance.choice(callers)
                pending.append((caller, (await scene.hold(caller, str(chance.randrange(3)))).call_id))
            await assert_holds_add_up(scene.pool, first)


async def assert_holds_add_up(pool: Pool, caller: Caller) -> None:
    """What the counters hold is the sum of the holds, in total and in every running window."""
    rows = await pool.fetch(
        """
        SELECT c.total_held - h.total AS total, c.day_held - h.day AS day, c.week_held - h.week AS week,
               c.month_held - h.month AS month, c.concurrent - h.count AS count
        FROM counters AS c CROSS JOIN LATERAL (
            SELECT coalesce(sum(amount), 0) AS total, count(*) AS count,
                   coalesce(sum(amount) FILTER (WHERE h.day_start = c.day_start), 0) AS day,
                   coalesce(sum(amount) FILTER (WHERE h.week_start = c.week_start), 0) AS week,
                   coalesce(sum(amount) FILTER (WHERE h.month_start = c.month_start), 0) AS month
            FROM holds AS h
            WHERE h.organization_id = c.organization_id AND c.scope_id IN (h.organization_id, h.project_id, h.key_id)
        ) AS h
        WHERE c.organization_id = $1
        """,
        caller.organization_id,
    )
    assert [tuple(row) for row in rows] == [(0, 0, 0, 0, 0)] * len(rows)


class TestResets:
    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Beirut", "America/Havana", "Atlantic/Azores"])
    async def test_a_refusal_says_when_the_window_ends_where_the_organization_is(self, scene: Scene, zone: str) -> None:
        caller = await scene.a_caller(credit="100", timezone=zone)
        for change in clock_changes(zone):
            scene.clock.at = change - timedelta(hours=13)
            for limit, of in PERIODS.items():
                await scene.limit(caller, "key", **{limit: "0"})
                assert (await scene.hold(caller)).resets_at == of(scene.clock.at, ZoneInfo(zone)).end, (limit, change)

    async def test_a_rate_resets_with_its_minute_and_a_total_never(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        scene.clock.at = scene.clock.at.replace(second=41)
        for limit, size, resets_at in (
            ("rpm", 0, scene.clock.at.replace(minute=1, second=0)),
            ("tpm", 0, scene.clock.at.replace(minute=1, second=0)),
            ("concurrency", 0, None),
            ("total", "0", None),
        ):
            await scene.limit(caller, "key", **{limit: size})
            assert (await scene.hold(caller)).resets_at == resets_at

    @pytest.mark.parametrize(("limit", "window"), WINDOWS.items())
    async def test_a_window_opens_at_the_first_of_two_midnights_and_only_once(
        self, scene: Scene, limit: str, window: str
    ) -> None:
        """In Havana the clocks strike midnight of 1 November 2026, a Sunday, at 04:00 and at 05:00 UTC."""
        caller = await scene.a_caller(credit="100", timezone="America/Havana")
        await scene.limit(caller, "key", **{limit: "1"})
        first = datetime(2026, 11, 1, 4, tzinfo=UTC)
        scene.clock.at = first
        assert await outcomes(scene, caller) == ["admitted", limit]
        counter = await scene.counter(caller, "key")
        assert counter[f"{window}_start"] == PERIODS[limit](first, ZoneInfo("America/Havana")).start
        scene.clock.at = first + timedelta(hours=1)
        assert await outcomes(scene, caller, 1) == [limit]

    async def test_the_database_begins_and_ends_every_window_as_the_calendar_does(self, scene: Scene) -> None:
        asked = [
            (unit, change + timedelta(minutes=minutes), zone)
            for zone in ODD_ZONES
            for change in clock_changes(zone)
            for minutes in range(-50 * 60, 50 * 60, 95)
            for unit in ("day", "week", "month")
        ]
        rows = await scene.pool.fetch(
            """
            SELECT now.start, following_window(unit, now.start, zone) AS following
            FROM unnest($1::text[], $2::timestamptz[], $3::text[]) WITH ORDINALITY AS t (unit, instant, zone, n),
                 LATERAL windows_at(instant, zone) AS w,
                 LATERAL (SELECT (to_jsonb(w) ->> (unit || '_start'))::timestamptz) AS now (start)
            ORDER BY n
            """,
            *(list(column) for column in zip(*asked, strict=True)),
        )
        cuts = {"day": period.day_of, "week": period.week_of, "month": period.month_of}
        expected = [cuts[unit](instant, ZoneInfo(zone)) for unit, instant, zone in asked]
        assert [period.Period(row["start"], row["following"]) for row in rows] == expected


def clock_changes(zone: str) -> list[datetime]:
    """The hours of 2026 around which the zone's clocks change."""
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 365)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, (one, other) in zip(hours[1:], pairwise(offsets), strict=False) if one != other]
