"""A window that ends while calls are held and settled by several processes, whose clocks do not quite agree."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from tests.builders import seeded
from tests.conftest import url_of
from tests.metering.scene import Caller, Pool, Scene, costing
from tests.metering.test_windows import PERIODS, WINDOWS, assert_holds_add_up

from tollgate.infra import database as databases
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import LimitExceeded, RateLimited
from tollgate.kit.ids import CallId
from tollgate.metering.model import Admission
from tollgate.metering.service import Meter

HOLD = Decimal("0.3")
CHARGES = ("0", "0.1", "0.3")
BUDGET = Decimal(6)
CLIENTS = 18
SKEWS = (0.0, 1.3, -0.8)
"""By how many seconds each process's clock is ahead."""
TICK = timedelta(milliseconds=700)

CROSSINGS = [
    ("daily", "Asia/Kolkata", "2026-11-20"),
    ("daily", "America/Sao_Paulo", "2018-11-03"),  # whose next day begins at 01:00
    ("daily", "America/Havana", "2026-10-31"),  # whose next day strikes midnight twice
    ("weekly", "Asia/Kathmandu", "2026-11-22"),
    ("weekly", "Europe/Berlin", "2026-10-25"),  # has 25 hours
    ("weekly", "Asia/Beirut", "2026-03-29"),  # began at 01:00
    ("monthly", "Pacific/Chatham", "2026-12-31"),
    ("monthly", "America/Havana", "2026-10-31"),
    ("monthly", "America/New_York", "2026-10-31"),  # and the month begins with a day of 25 hours
]


@dataclass(frozen=True, slots=True)
class Process:
    """A way to the ledger with connections and a clock of its own."""

    scene: Scene
    meter: Meter
    ahead: timedelta

    def set(self, at: datetime) -> None:
        self.scene.clock.at = at + self.ahead


@dataclass(slots=True)
class Traffic:
    """What became of all the calls."""

    charged: Counter[datetime] = field(default_factory=Counter)
    """By the window each was held in, in tenths of a dollar."""
    straddling: int = 0
    """Calls that were settled in another window than they were held in."""
    refused: Counter[str] = field(default_factory=Counter)
    """By what the caller was told of when the window ends."""
    available: list[Decimal] = field(default_factory=list)
    """What each who was refused was told is left."""


@pytest.fixture
def scene(shared_scene: Scene) -> Scene:
    return shared_scene


@pytest.fixture(scope="module")
async def pools(shared_database: object, server_url: str, template: str) -> AsyncIterator[Sequence[Pool]]:
    """Connections for each process."""
    assert shared_database
    url = url_of(server_url, f"{template}_shared")
    async with AsyncExitStack() as stack:
        found = [await databases.connect_pool(url, connections_max=4) for _ in SKEWS]
        for pool in found:
            stack.push_async_callback(pool.close)
        yield found


@pytest.fixture
def processes(scene: Scene, pools: Sequence[Pool]) -> Sequence[Process]:
    apart = [replace(scene, clock=FixedClock(scene.clock.at)) for _ in pools]
    return [
        Process(each, each.meter(pool=pool), timedelta(seconds=skew))
        for each, pool, skew in zip(apart, pools, SKEWS, strict=True)
    ]


@pytest.mark.parametrize(("limit", "zone", "last_day"), CROSSINGS)
async def test_a_window_that_ends_under_load_neither_counts_twice_nor_blocks(
    scene: Scene, processes: Sequence[Process], limit: str, zone: str, last_day: str
) -> None:
    window, now = WINDOWS[limit], datetime.fromisoformat(f"{last_day}T12:00").replace(tzinfo=ZoneInfo(zone))
    ending = PERIODS[limit](now, ZoneInfo(zone))
    following = PERIODS[limit](ending.end, ZoneInfo(zone))
    callers = await callers_of(scene, zone, {limit: BUDGET})
    traffic, left = Traffic(), asyncio.Event()
    for process in processes:
        process.set(ending.end - timedelta(seconds=5))
    clients = [
        asyncio.create_task(client(processes[turn % 3], callers[turn % 4], window, traffic, left, seeded(turn)))
        for turn in range(CLIENTS)
    ]
    await until(lambda: traffic.refused[text(ending.end)] > 5)
    at = ending.end - timedelta(seconds=5)
    while at < ending.end + timedelta(seconds=5):
        at += TICK
        for process in processes:
            process.set(at)
        await assert_holds_add_up(scene.pool, callers[0])
        assert await left_of(scene, callers[0], limit) >= 0
    await until(lambda: traffic.refused[text(following.end)] > 5)
    left.set()
    await asyncio.gather(*clients)
    assert traffic.straddling > 0
    assert set(traffic.charged) == {ending.start, ending.end}
    assert set(traffic.refused) == {text(ending.end), text(following.end)}
    assert min(traffic.available) >= 0
    assert max(traffic.available) < HOLD
    assert Decimal(traffic.charged[ending.start]) / 10 <= BUDGET
    used = Decimal(traffic.charged[ending.end]) / 10
    counter = await scene.counter(callers[0], "project")
    assert (counter[f"{window}_start"], counter[f"{window}_used"], counter[f"{window}_held"]) == (ending.end, used, 0)
    assert counter["total_used"] == Decimal(traffic.charged.total()) / 10
    assert (counter["total_held"], counter["concurrent"]) == (0, 0)
    assert await admitted(processes, callers, 30) == (BUDGET - used) // HOLD


@pytest.mark.parametrize(("limit", "size"), [("rpm", 20), ("tpm", 209)])
async def test_minutes_that_end_under_load_each_admit_exactly_their_own(
    scene: Scene, processes: Sequence[Process], limit: str, size: int
) -> None:
    callers = await callers_of(scene, "UTC", {limit: size})
    refused, left, at = Counter[str](), asyncio.Event(), scene.clock.at.replace(second=57)
    for process in processes:
        process.set(at)
    asking = [asyncio.create_task(ask(processes[turn % 3], callers[turn % 4], refused, left)) for turn in range(6)]
    for minute in range(1, 4):
        end = text(scene.clock.at.replace(minute=minute, second=0))
        await until(lambda end=end: refused[end] > 5)  # type: ignore[misc]  # the default binds it
        at = scene.clock.at.replace(minute=minute - 1, second=57)
        for _ in range(6):
            at += timedelta(seconds=10)
            for process in processes:
                process.set(at)
            await asyncio.sleep(0.01)
    await until(lambda: refused[text(scene.clock.at.replace(minute=4, second=0))] > 5)
    left.set()
    await asyncio.gather(*asking)
    held = await scene.pool.fetch(
        "SELECT count(*) AS calls FROM holds WHERE organization_id = $1 GROUP BY minute_start",
        callers[0].organization_id,
    )
    assert [row["calls"] for row in held] == [20, 20, 20, 20]


async def callers_of(scene: Scene, zone: str, limits: dict[str, object]) -> list[Caller]:
    """Four keys of one project, which has the limit."""
    first = await scene.a_caller(credit="1000", timezone=zone)
    await scene.limit(first, "project", **limits)
    return [first, *[await scene.a_key(first.organization_id, first.project_id) for _ in range(3)]]


async def client(
    process: Process, caller: Caller, window: str, traffic: Traffic, left: asyncio.Event, chance: Random
) -> None:
    """Hold and settle, call after call, some of them quickly and some only when the window has long ended."""
    while not left.is_set():
        request = process.scene.request(caller, str(HOLD))
        accepted = process.scene.clock.at
        try:
            await process.meter.admit(request)
        except LimitExceeded as refusal:
            traffic.available.append(Decimal(str(refusal.metadata["available"])))
            traffic.refused[str(refusal.metadata["resets_at"])] += 1
            await asyncio.sleep(0.005)
            continue
        start = await process.scene.pool.fetchval(
            f"SELECT {window}_start FROM holds WHERE organization_id = $1 AND call_id = $2",
            caller.organization_id,
            request.call_id,
        )
        await asyncio.sleep(chance.choice((0, 0.01, 0.2)))
        charge = chance.choice(CHARGES)
        await process.meter.settle(costing(caller, CallId(request.call_id), accepted, charge))
        traffic.charged[start] += int(Decimal(charge) * 10)
        traffic.straddling += (await process.scene.counter(caller))[f"{window}_start"] > start


async def ask(process: Process, caller: Caller, refused: Counter[str], left: asyncio.Event) -> None:
    """Ask for holds, one after the other, whatever comes of it."""
    while not left.is_set():
        try:
            await process.meter.admit(process.scene.request(caller, str(HOLD)))
        except RateLimited as refusal:
            refused[str(refusal.metadata["resets_at"])] += 1
            await asyncio.sleep(0.005)


async def admitted(processes: Sequence[Process], callers: Sequence[Caller], count: int) -> int:
    """How many of so many more calls are admitted."""
    answers = await asyncio.gather(
        *(
            processes[turn % 3].meter.admit(processes[turn % 3].scene.request(callers[turn % 4], str(HOLD)))
            for turn in range(count)
        ),
        return_exceptions=True,
    )
    assert all(isinstance(answer, Admission | LimitExceeded) for answer in answers)
    return sum(isinstance(answer, Admission) for answer in answers)


async def left_of(scene: Scene, caller: Caller, limit: str) -> Decimal:
    """What is left of the project's limit, as it stands."""
    left: Decimal = await scene.pool.fetchval(
        f"""
        SELECT l.{limit} - c.{WINDOWS[limit]}_used - c.{WINDOWS[limit]}_held
        FROM limits AS l JOIN counters AS c USING (organization_id, scope_id) WHERE scope_id = $1
        """,
        caller.project_id,
    )
    return left


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - many have a part in it
            await asyncio.sleep(0.005)


def text(at: datetime) -> str:
    """An instant as callers are told of it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
