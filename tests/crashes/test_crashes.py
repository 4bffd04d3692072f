"""Whatever is killed, and whenever: what was acknowledged is recorded once, and nothing stays held."""

import asyncio

import pytest
from tests.crashes.callers import Callers, Saw
from tests.crashes.outages import outage
from tests.crashes.plant import DRAIN_SECONDS, SETTLE_SECONDS, STOP_SECONDS_MAX
from tests.crashes.rounds import KillRound, Point, Victim, load, settled_down
from tests.crashes.script import Script
from tests.gateway.installation import Customer

IMPATIENCE_SECONDS = 0.5
"""How much earlier or later than agreed something may end on a busy machine."""
BACK_SECONDS_MAX = 5
"""How long after its return the database may stay unnoticed."""


async def test_without_a_crash_everything_is_acknowledged_and_recorded(
    callers: Callers, customers: list[Customer]
) -> None:
    before = set(callers.seen)
    async with load(callers, customers, per_second=100) as going:
        for _ in range(30):
            going.one()
    found = await settled_down(callers, before)
    calls = len(callers.seen) - len(before)
    assert found.counts == {"settled": calls, "saw answered": calls}, found.told
    assert not found.wrong, found.told


@pytest.mark.parametrize(
    ("gateway", "victim"), [pytest.param(1, Victim.GROUP, marks=pytest.mark.long), (0, Victim.WORKERS)]
)
async def test_a_gateway_killed_at_every_point_loses_nothing(
    callers: Callers, customers: list[Customer], gateway: int, victim: Victim
) -> None:
    before = set(callers.seen)
    async with (
        load(callers, customers, per_second=15) as going,
        KillRound(callers, going, gateway, callers.plant.installation.customer) as killing,
    ):
        await asyncio.gather(
            killing.bring(Point.FIRST_BYTE, customers[0], streamed=True),
            killing.bring(Point.FIRST_BYTE, customers[0], streamed=False),
            killing.bring(Point.MID_STREAM, customers[1], streamed=True, seconds=3),
            killing.bring(Point.LAST_BYTE, customers[0], streamed=victim is Victim.GROUP),
        )
        await killing.bring(Point.SETTLING, customers[1], streamed=victim is Victim.WORKERS)
        await killing.bring(Point.ADMITTED, customers[1], streamed=True)
        await killing.bring(Point.SETTLED, customers[0], streamed=victim is Victim.GROUP)
        await killing.end(victim)
    found = await settled_down(callers, before, killed_at=killing.killed_at)
    assert not found.wrong, found.told
    assert found.counts["recovered"] >= 3, found.told


async def test_a_settlement_whose_answer_is_lost_is_recorded_once(callers: Callers, customers: list[Customer]) -> None:
    before = set(callers.seen)
    door = callers.plant.doors[2]
    moment = door.hold_back("settle_and_flush(")
    call = callers.call(customers[0], 2, Script(), streamed=True)
    async with asyncio.timeout(10):
        await moment.came.wait()
    door.cut()
    assert (await call).saw is Saw.ANSWERED
    found = await settled_down(callers, before)
    assert not found.wrong, found.told


async def test_a_database_that_dies_under_load_loses_nothing(callers: Callers, customers: list[Customer]) -> None:
    before = set(callers.seen)
    async with load(callers, customers, per_second=20):
        await asyncio.sleep(1)
        await callers.plant.stop_postgres()
        await callers.plant.start_postgres()
        await asyncio.sleep(1)
    found = await settled_down(callers, before)
    assert not found.wrong, found.told
    assert {callers.seen[marker].saw for marker in callers.seen.keys() - before} <= {Saw.ANSWERED, Saw.AWAY}, found.told


@pytest.mark.long
async def test_an_outage_is_survived_by_what_was_acknowledged_in_it(
    callers: Callers, customers: list[Customer]
) -> None:
    report = await outage(callers, customers, seconds=5, dies=2, per_second=20)
    told = report.text(step=1)
    assert not report.found.wrong, told
    assert {one.saw for one in report.kept} == {Saw.ANSWERED}, told
    assert Saw.AWAY in {one.saw for one in report.during} <= {Saw.ANSWERED, Saw.AWAY}, told
    assert max(report.again.values()) < BACK_SECONDS_MAX, told


async def test_a_key_revoked_through_one_gateway_is_refused_by_the_others(callers: Callers) -> None:
    customer = await callers.plant.installation.customer()
    gateways = range(len(callers.plant.gateways))
    for gateway in gateways:
        assert (await callers.call(customer, gateway, Script(), streamed=False)).saw is Saw.ANSWERED
    manager = (await callers.plant.installation.key(customer.organization, kind="management"))["key"]
    url = f"{callers.plant.gateways[0].base_url}/keys/{customer.key_id}"
    revoked = await callers.plant.http.delete(url, headers={"authorization": f"Bearer {manager}"})
    assert revoked.is_success, revoked.text
    for gateway in reversed(gateways):
        assert (await callers.call(customer, gateway, Script(), streamed=False)).status == 401


async def test_a_gateway_asked_to_stop_cuts_nobody_before_the_deadline(
    callers: Callers, customers: list[Customer]
) -> None:
    before, clock = set(callers.seen), asyncio.get_running_loop().time
    gateway = callers.plant.gateways[1]
    async with load(callers, customers, per_second=20):
        in_time = [
            callers.call(customers[0], 1, Script(words=10, pause=(DRAIN_SECONDS - 1) / 10), streamed=streamed)
            for streamed in (True, True, False)
        ]
        too_long = callers.call(customers[1], 1, Script(words=100, pause=DRAIN_SECONDS / 50), streamed=True)
        await asyncio.sleep(0.5)
        asked_at = clock()
        await gateway.process.stop(patience_seconds=STOP_SECONDS_MAX)
        took = clock() - asked_at
    found = await settled_down(callers, before)
    assert not found.wrong, found.told
    assert [(await call).saw for call in in_time] == [Saw.ANSWERED] * 3
    seen = [one for marker, one in callers.seen.items() if marker not in before]
    cut = [one for one in seen if one.saw not in {Saw.ANSWERED, Saw.UNREACHED}]
    assert cut == [await too_long], "\n".join(map(str, cut))
    assert cut[0].ended - asked_at > DRAIN_SECONDS - IMPATIENCE_SECONDS
    assert took < DRAIN_SECONDS + SETTLE_SECONDS + IMPATIENCE_SECONDS


@pytest.mark.long
async def test_a_hold_that_is_taken_after_its_process_died_goes_back(
    callers: Callers, customers: list[Customer]
) -> None:
    before = set(callers.seen)
    async with (
        load(callers, customers, per_second=15) as going,
        KillRound(callers, going, 1, callers.plant.installation.customer, locked_seconds=6) as killing,
    ):
        await killing.bring(Point.ADMITTING, customers[0], streamed=True)
        await killing.end(Victim.GROUP)
    found = await settled_down(callers, before)
    assert not found.wrong, found.told
