"""A hundred rounds of it, everything at random: which gateway, what of it, at which moments, or the database instead.

TOLLGATE_TEST_SEED repeats what another run chose, TOLLGATE_TEST_ROUNDS (`40`, or `17-17`) some of it.
"""

import asyncio
import os
import random
from pathlib import Path
from shutil import rmtree

import pytest
from tests.crashes.callers import Callers, Saw
from tests.crashes.outages import outage
from tests.crashes.plant import Plant
from tests.crashes.rounds import KillRound, Point, Victim, load, settled_down
from tests.crashes.truth import Findings
from tests.gateway.installation import Customer

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
NUMBER_OF_ROUNDS = 100
ENDED_SECONDS_MAX = 60
LOAD_PER_SECOND = 25
STAYS = (Point.FIRST_BYTE, Point.MID_STREAM, Point.LAST_BYTE, Point.SETTLING)
"""What calls may have come to before others are admitted without an answer, or settled without one.

Settlements travel two batches at a time, so two of them at most may be kept waiting."""


def rounds() -> range:
    text = os.environ.get("TOLLGATE_TEST_ROUNDS") or str(NUMBER_OF_ROUNDS)
    first, _, last = text.rpartition("-")
    return range(int(first or 1), int(last) + 1)


async def killing_round(callers: Callers, customers: list[Customer], dice: random.Random) -> tuple[str, Findings]:
    """One gateway dies, with up to four calls at moments that have names; and perhaps another one soon after."""
    before = set(callers.seen)
    gateways = list(range(len(callers.plant.gateways)))
    gateway, heir = dice.sample(gateways, 2)
    victim = dice.choice(list(Victim))
    points = dice.sample(STAYS, dice.randint(0, 2))
    points += [point for point in (Point.ADMITTED, Point.SETTLED) if dice.random() < 0.5]
    after_seconds = 4 * dice.random() if dice.random() < 0.3 else None
    async with (
        load(callers, customers, per_second=LOAD_PER_SECOND) as going,
        KillRound(callers, going, gateway, callers.plant.installation.customer) as killing,
    ):
        await asyncio.sleep(dice.random())
        for point in points:
            seconds = dice.choice((0, 0.3, 3))
            await killing.bring(point, dice.choice(customers), streamed=dice.random() < 0.7, seconds=seconds)
        if after_seconds is None:
            await killing.end(victim)
        else:
            await asyncio.gather(killing.end(victim), dies_too(callers.plant, heir, after_seconds))
    found = await settled_down(callers, before, killed_at=killing.killed_at)
    too = "" if after_seconds is None else f", and gateway {heir} {after_seconds:.1f} s later"
    return f"gateway {gateway}, {victim}, {'; '.join(points) or 'whenever'}{too}", found


async def dies_too(plant: Plant, gateway: int, seconds: float) -> None:
    """Kill a gateway that may just be taking over what another one left."""
    await asyncio.sleep(seconds)
    await plant.gateways[gateway].restart()


async def database_round(callers: Callers, customers: list[Customer], dice: random.Random) -> tuple[str, Findings]:
    """PostgreSQL dies, for a moment or for some seconds; and perhaps a gateway meanwhile."""
    before = set(callers.seen)
    away, gateway = dice.choice((0, 0.5, 4)), dice.randrange(len(callers.plant.gateways))
    dies = dice.random() < 0.5
    async with load(callers, customers, per_second=LOAD_PER_SECOND):
        await asyncio.sleep(1 + dice.random())
        await callers.plant.stop_postgres()
        await asyncio.sleep(away * dice.random())
        if dies:
            await callers.plant.gateways[gateway].kill()
        await asyncio.sleep(away * dice.random())
        await callers.plant.start_postgres()
        await callers.plant.mend()
        await asyncio.sleep(1)
    too = f", and gateway {gateway} meanwhile" if dies else ""
    return f"PostgreSQL, for up to {2 * away} s{too}", await settled_down(callers, before)


async def blackout_round(callers: Callers, customers: list[Customer], dice: random.Random) -> tuple[str, Findings]:
    """Everything dies at once, and starts again in any order."""
    before, plant = set(callers.seen), callers.plant
    async with load(callers, customers, per_second=LOAD_PER_SECOND):
        await asyncio.sleep(1 + dice.random())
        for part in plant.parts:
            part.process.kill()
        await plant.stop_postgres()
    await callers.all_ended(seconds_max=ENDED_SECONDS_MAX)
    await plant.start_postgres()
    await asyncio.gather(*(part.restart() for part in plant.parts))
    return "everything", await settled_down(callers, before)


ROUNDS = {killing_round: 75, database_round: 20, blackout_round: 5}
"""What may happen in a round, and how often in a hundred."""


async def test_a_hundred_crashes_lose_nothing(
    callers: Callers, customers: list[Customer], seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = asyncio.get_running_loop().time
    with capfd.disabled():
        print(f"\nTOLLGATE_TEST_SEED={seed}")  # noqa: T201 - for whoever waits, and for replay
    for number in rounds():
        dice = random.Random(f"{seed} {number}")  # noqa: S311 - to be had again by its seed
        callers.plant.dice.seed(f"{seed} {number} load")
        began = clock()
        (what,) = dice.choices(list(ROUNDS), list(ROUNDS.values()))
        name, found = await what(callers, customers, dice)
        with capfd.disabled():
            print(f"{number:4} {clock() - began:5.1f} s  {name}: {found.told}")  # noqa: T201 - as above
        assert not found.wrong, f"TOLLGATE_TEST_SEED={seed} TOLLGATE_TEST_ROUNDS={number}-{number}\n{found.told}"


async def test_a_minute_without_a_database_loses_nothing(
    callers: Callers, customers: list[Customer], capfd: pytest.CaptureFixture[str]
) -> None:
    report = await outage(callers, customers, seconds=60, dies=2, per_second=LOAD_PER_SECOND)
    told = report.text(step=5)
    with capfd.disabled():
        print(f"\n{told}")  # noqa: T201 - what callers saw
    assert not report.found.wrong, told
    assert {one.saw for one in report.kept} == {Saw.ANSWERED}, told
    assert {one.saw for one in report.during} == {Saw.ANSWERED, Saw.AWAY}, told


async def test_a_host_that_is_lost_with_its_disk_is_recovered_by_the_others(
    callers: Callers, customers: list[Customer], tmp_path: Path
) -> None:
    before, gateway = set(callers.seen), callers.plant.gateways[2]
    at_home = gateway.environment
    gateway.environment = {**at_home, "TOLLGATE_DATA_DIR": str(tmp_path / "disk"), "TOLLGATE_LEASE_SECONDS": "15"}
    await gateway.restart()
    async with (
        load(callers, customers, per_second=LOAD_PER_SECOND) as going,
        KillRound(callers, going, 2, callers.plant.installation.customer) as killing,
    ):
        going.spared.add(2)
        await asyncio.gather(
            killing.bring(Point.MID_STREAM, customers[0], streamed=True, seconds=5),
            killing.bring(Point.FIRST_BYTE, customers[1], streamed=True),
            killing.bring(Point.FIRST_BYTE, customers[1], streamed=False),
        )
        await killing.bring(Point.ADMITTED, customers[0], streamed=True)
        await gateway.kill()
        rmtree(tmp_path / "disk")
        gateway.environment = at_home
        await killing.end(Victim.GROUP)
    found = await settled_down(callers, before, killed_at=killing.killed_at)
    assert not found.wrong, found.told
    assert found.counts["recovered"] == 3, found.told
