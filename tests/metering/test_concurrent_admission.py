"""A limit for k calls admits exactly k, however many ask at once and through however many processes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.builders import a_grant, seeded
from tests.metering.scene import Caller, Scene

from tollgate.infra import database as databases
from tollgate.kit.errors import PaymentRequired, RateLimited
from tollgate.metering.model import Admission
from tollgate.metering.service import Meter

CALLS = 200
HOLD = "0.3"
BUDGET = "11"
FIT = 36
"""⌊11 / 0.3⌋"""

BOUNDS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{scope} {name}": (scope, {name: limit})
    for scope in ("organization", "project", "key")
    for name, limit in {
        "total": BUDGET,
        "daily": BUDGET,
        "weekly": BUDGET,
        "monthly": BUDGET,
        "rpm": FIT,
        "tpm": FIT * 10 + 9,
        "concurrency": FIT,
    }.items()
}


@asynccontextmanager
async def processes(scene: Scene, database_url: str, count: int) -> AsyncIterator[Sequence[Meter]]:
    """Meters as different processes have them: each with connections of its own."""
    async with AsyncExitStack() as stack:
        pools = [await databases.connect_pool(database_url, connections_max=3) for _ in range(count)]
        for pool in pools:
            stack.push_async_callback(pool.close)
        yield [scene.meter(pool=pool) for pool in pools]


async def admitted(meters: Sequence[Meter], scene: Scene, caller: Caller, **request: Any) -> int:
    """How many of the calls were admitted, asked for through all the meters in turn."""
    requests = [scene.request(caller, HOLD, **request) for _ in range(CALLS)]
    answers = await asyncio.gather(
        *(meters[turn % len(meters)].admit(each) for turn, each in enumerate(requests)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, PaymentRequired | RateLimited)]
    held = [answer.amount for answer in answers if isinstance(answer, Admission)]
    assert len(refused) + len(held) == CALLS
    assert set(held) <= {Decimal(HOLD)}
    return len(held)


async def test_every_bound_admits_exactly_what_fits_while_all_are_under_load(scene: Scene, database_url: str) -> None:
    callers = {bound: await scene.a_caller(credit="1000") for bound in BOUNDS}
    for bound, (scope, limit) in BOUNDS.items():
        await scene.limit(callers[bound], scope, **limit)
    callers["balance"] = await scene.a_caller(credit=BUDGET)
    callers["credit limit"] = await scene.a_caller(credit_limit=Decimal(BUDGET))
    callers["credit and credit limit"] = await scene.a_caller(credit="10", credit_limit=Decimal(1))
    async with processes(scene, database_url, 3) as meters:
        found = await asyncio.gather(*(admitted(meters, scene, caller) for caller in callers.values()))
    assert dict(zip(callers, found, strict=True)) == dict.fromkeys(callers, FIT)


@pytest.mark.parametrize("calls_at_once", [1, 10])
async def test_a_budget_for_one_call_admits_one(scene: Scene, database_url: str, calls_at_once: int) -> None:
    callers = [await scene.a_caller(credit="0.3") for _ in range(10)]
    async with processes(scene, database_url, 2) as meters:
        for caller in callers:
            requests = [scene.request(caller, HOLD) for _ in range(calls_at_once)]
            answers = await asyncio.gather(
                *(meters[turn % 2].admit(each) for turn, each in enumerate(requests)), return_exceptions=True
            )
            assert sum(isinstance(answer, Admission) for answer in answers) == 1


async def test_keys_that_share_a_limit_share_it_exactly(scene: Scene, database_url: str) -> None:
    first = await scene.a_caller(credit="1000")
    keys = [first, *[await scene.a_key(first.organization_id, first.project_id) for _ in range(3)]]
    await scene.limit(first, "project", monthly=BUDGET)
    async with processes(scene, database_url, 3) as meters:
        found = await asyncio.gather(*(admitted(meters, scene, caller) for caller in keys))
    assert sum(found) == FIT


async def test_no_one_ever_sees_less_than_nothing_left(scene: Scene, database_url: str) -> None:
    """Calls of any size come and go, credit arrives, and a monitor reads throughout."""
    chance = seeded(3)
    caller = await scene.a_caller(credit="5")
    await scene.limit(caller, "key", daily="20")
    seen: list[Decimal] = []
    done = asyncio.Event()

    async def monitor() -> None:
        while not done.is_set():
            seen.append(
                await scene.pool.fetchval(
                    "SELECT (SELECT sum(remaining) FROM grants) - total_held FROM counters WHERE scope_id = $1",
                    caller.organization_id,
                )
                or Decimal(0)
            )

    async def client(meter: Meter) -> None:
        for _ in range(60):
            most = Decimal(chance.randrange(1, 2_000_000)).scaleb(-6)
            request = scene.request(caller, str(most), least=str(most / 2))
            try:
                held = (await meter.admit(request)).amount
            except PaymentRequired:
                continue
            assert held is not None
            assert most / 2 <= held <= most

    async with processes(scene, database_url, 2) as meters:
        watching = asyncio.create_task(monitor())
        clients = [asyncio.create_task(client(meter)) for meter in meters for _ in range(5)]
        for _ in range(10):
            await a_grant(scene.database, caller.organization_id, "2", now=scene.clock.at)
        await asyncio.gather(*clients)
        done.set()
        await watching
    assert min(seen) >= 0
    counter = await scene.counter(caller, "key")
    assert counter["day_held"] <= 20
