"""Health: what one process has seen, every process knows, and those that come after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest

from tollgate.health import service
from tollgate.health.model import HEALTHY, Fault
from tollgate.health.service import Health
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import EndpointId, OrganizationId
from tollgate.statistics.model import Standing, Tally

PLACES = [EndpointId(UUID(int=number)) for number in range(1, 5)]
ONE, TWO, THREE, FOUR = PLACES
US = OrganizationId(UUID(int=9))
_ADD = """
    INSERT INTO endpoints
        (id, model, provider, upstream_model, protocols, supported_parameters, supports_cancel, enabled)
    VALUES ($1, 'sandbox/health', $2, 'x', '{openai}', '{}', true, true)
"""


Start: TypeAlias = Callable[[], Awaitable[Health]]


class Net:
    """Which endpoints can be reached."""

    def __init__(self) -> None:
        self.up: set[EndpointId] = set()
        self.looked = 0

    async def reach(self, endpoint_id: EndpointId) -> bool:
        self.looked += 1
        return endpoint_id in self.up


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
async def pool(pool: "asyncpg.Pool[asyncpg.Record]") -> "asyncpg.Pool[asyncpg.Record]":
    """With four endpoints in its catalogue."""
    await pool.execute(
        "INSERT INTO models (slug, name, description, input_modalities, output_modalities, tokenizer, created_at)"
        " VALUES ('sandbox/health', 'x', '', '{text}', '{text}', 'o200k_base', now())"
    )
    for place in PLACES:
        slug = f"provider-{place.int}"
        await pool.execute(
            "INSERT INTO providers (slug, name, format, regions) VALUES ($1, 'x', 'sandbox', '{}')", slug
        )
        await pool.execute(_ADD, place, slug)
    return pool


@pytest.fixture
async def processes(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, net: Net, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Starts processes, each with a health of its own, that share what they see within milliseconds."""
    monkeypatch.setattr(service, "SHARE_SECONDS", 0.02)
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.02)
    async with AsyncExitStack() as stack:

        async def start() -> Health:
            return await stack.enter_async_context(Health(pool, clock, reach=net.reach).shared())

        yield start


def fail(health: Health, place: EndpointId, fault: Fault, clock: FixedClock) -> None:
    """Often enough for its circuit to open."""
    for _ in range(3):
        health.failed(place, fault, by=US, began_at=clock.at)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, which it is in no time."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was")


def turns(health: Health, *planned: EndpointId) -> list[EndpointId]:
    return list(health.in_turn(planned, lambda place: place))


async def test_what_one_process_sees_all_know_and_so_do_those_that_start_later(
    processes: Start, clock: FixedClock
) -> None:
    first, second = await processes(), await processes()
    fail(first, ONE, Fault.DENIED, clock)
    await until(lambda: ONE in second.conditions)
    assert second.conditions[ONE].circuit == first.conditions[ONE].circuit
    third = await processes()
    assert third.conditions[ONE].circuit == first.conditions[ONE].circuit
    clock.at += timedelta(seconds=1)
    third.served(ONE, by=US, began_at=clock.at)
    await until(lambda: not (first.conditions or second.conditions))


async def test_of_two_that_see_something_else_the_later_is_right(processes: Start, clock: FixedClock) -> None:
    first, second = await processes(), await processes()
    fail(first, ONE, Fault.DENIED, clock)
    await until(lambda: ONE in second.conditions)
    clock.at += timedelta(seconds=100)
    fail(second, ONE, Fault.GONE, clock)
    await until(lambda: _fault(first, ONE) is Fault.GONE)
    assert _fault(second, ONE) is Fault.GONE


async def test_what_cannot_be_reached_is_looked_at_by_nobody_who_waits(
    processes: Start, clock: FixedClock, net: Net
) -> None:
    health = await processes()
    health.failed(ONE, Fault.UNREACHABLE, by=US, began_at=clock.at)
    assert turns(health, ONE, TWO) == [TWO]
    clock.at += timedelta(seconds=1)
    await until(lambda: net.looked == 1)
    assert turns(health, ONE, TWO) == [TWO]
    net.up.add(ONE)
    clock.at += timedelta(seconds=2)
    await until(lambda: _fault(health, ONE) is Fault.FAILING)
    assert turns(health, ONE, TWO) == [ONE, TWO]


async def test_one_call_has_the_trial_and_the_others_try_it_last(processes: Start, clock: FixedClock) -> None:
    health = await processes()
    fail(health, ONE, Fault.GONE, clock)
    clock.at += timedelta(seconds=60)
    trial = health.in_turn([ONE, TWO], lambda place: place)
    assert next(trial) == ONE
    assert turns(health, ONE, TWO) == [TWO, ONE]
    health.rested(ONE)
    assert next(health.in_turn([ONE, TWO], lambda place: place)) == ONE
    health.served(ONE, by=US, began_at=clock.at)
    assert [next(health.in_turn([ONE, TWO], lambda place: place)) for _ in range(2)] == [ONE, ONE]


async def test_where_all_became_unfit_meanwhile_one_is_tried_all_the_same(processes: Start, clock: FixedClock) -> None:
    health = await processes()
    for place in (ONE, TWO):
        health.failed(place, Fault.UNREACHABLE, by=US, began_at=clock.at)
    assert turns(health, ONE, TWO) == [ONE]


async def test_while_the_database_is_away_a_process_knows_what_it_saw_itself(
    pool: "asyncpg.Pool[asyncpg.Record]", processes: Start, clock: FixedClock
) -> None:
    first, second = await processes(), await processes()
    await pool.execute("ALTER TABLE endpoint_circuits RENAME TO away")
    fail(first, ONE, Fault.DENIED, clock)
    await asyncio.sleep(0.1)
    assert _fault(first, ONE) is Fault.DENIED
    assert ONE not in second.conditions
    await pool.execute("ALTER TABLE away RENAME TO endpoint_circuits")
    await until(lambda: ONE in second.conditions)


async def test_an_endpoint_that_is_taken_out_takes_its_circuit_along(
    pool: "asyncpg.Pool[asyncpg.Record]", processes: Start, clock: FixedClock
) -> None:
    health = await processes()
    fail(health, ONE, Fault.DENIED, clock)
    await until(lambda: not health._unsaved)
    await pool.execute("DELETE FROM endpoints WHERE id = $1", ONE)
    clock.at += timedelta(seconds=1)
    await until(lambda: ONE not in health.conditions)
    fail(health, ONE, Fault.DENIED, clock)
    await until(lambda: not health._unsaved)
    assert await pool.fetchval("SELECT count(*) FROM endpoint_circuits") == 0


async def test_figures_of_the_last_hour_come_and_go(
    pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, net: Net
) -> None:
    figures: dict[EndpointId, Standing] = {ONE: Standing(Tally(1, 2), 300, None)}

    async def standings(_at: datetime) -> Mapping[EndpointId, Standing]:
        return dict(figures)

    health = Health(pool, clock, reach=net.reach, standings=standings)
    await health._read(with_standings=True)
    assert health.conditions[ONE].standing == figures[ONE]
    fail(health, ONE, Fault.DENIED, clock)
    figures.clear()
    await health._read(with_standings=True)
    assert health.conditions[ONE].standing is None
    assert _fault(health, ONE) is Fault.DENIED


def _fault(health: Health, place: EndpointId) -> Fault | None:
    circuit = health.conditions.get(place, HEALTHY).circuit
    return None if circuit is None else circuit.fault
