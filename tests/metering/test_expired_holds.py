"""Holds that no one settles are given back when their lease is over."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.metering.scene import Scene, costing, everything

from tollgate.metering import store

SCOPES = ("organization", "project", "key")


async def release(scene: Scene) -> int:
    return await store.release_expired_holds(scene.pool, now=scene.clock.now())


async def test_what_they_held_is_given_back_at_every_scope(scene: Scene) -> None:
    caller = await scene.a_caller(credit="3")
    await scene.limit(caller, "key", concurrency=2)
    await scene.expire(*[(await scene.hold(caller, amount)).call_id for amount in ("1", "2")])
    assert (await scene.hold(caller)).outcome == "balance"
    assert await release(scene) == 2
    assert await scene.holds(caller) == []
    for scope in SCOPES:
        counter = await scene.counter(caller, scope)
        assert [counter[f"{window}_held"] for window in ("total", "day", "week", "month")] == [0] * 4
        assert counter["concurrent"] == 0
    assert (await scene.hold(caller, "3")).outcome == "admitted"


async def test_a_hold_lasts_as_long_as_its_lease_by_the_ledgers_own_clock(scene: Scene) -> None:
    caller = await scene.a_caller(credit="3")
    first, second = await scene.hold(caller), await scene.hold(caller)
    scene.clock.at += timedelta(days=1)
    assert await release(scene) == 0
    await scene.expire(first.call_id)
    assert await release(scene) == 1
    assert [row["call_id"] for row in await scene.holds(caller)] == [second.call_id]
    assert (await scene.counter(caller))["total_held"] == 1


async def test_a_hold_that_left_word_of_its_call_is_not_given_back(scene: Scene) -> None:
    caller = await scene.a_caller(credit="3")
    answer = await scene.hold(caller)
    await store.checkpoint(scene.pool, [(caller.organization_id, answer.call_id, b"{}")])
    await scene.expire(answer.call_id)
    assert await release(scene) == 0
    assert (await scene.counter(caller))["total_held"] == 1


async def test_nothing_is_touched_where_nothing_expired(scene: Scene) -> None:
    caller = await scene.a_caller(credit="3")
    await scene.hold(caller)
    written = await everything(scene.pool)
    assert await release(scene) == 0
    assert await everything(scene.pool) == written


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_settlement_that_arrives_later_charges_its_call_and_gives_nothing_back_twice(
    scene: Scene, *, at_once: bool
) -> None:
    caller = await scene.a_caller(credit="10")
    accepted, late, other = scene.clock.at, await scene.hold(caller, "2"), await scene.hold(caller, "3")
    scene.clock.at += timedelta(minutes=7)
    await scene.expire(late.call_id)
    ended = costing(caller, late.call_id, accepted, "1.5")
    if at_once:
        await asyncio.gather(release(scene), scene.settle(ended))
    else:
        assert await release(scene) == 1
        assert await scene.settle(ended) == [(late.call_id, True, Decimal(0), ended.call.amount)]
    for scope in SCOPES:
        counter = await scene.counter(caller, scope)
        assert [counter[f"{window}_used"] for window in ("total", "day", "week", "month")] == [Decimal("1.5")] * 4
        assert [counter[f"{window}_held"] for window in ("total", "day", "week", "month")] == [3] * 4
        assert counter["concurrent"] == 1
    assert [row["call_id"] for row in await scene.holds(caller)] == [other.call_id]


async def test_what_the_last_window_held_frees_nothing_in_the_new_one(scene: Scene) -> None:
    caller = await scene.a_caller(credit="10")
    await scene.expire((await scene.hold(caller, "2", tokens=100)).call_id)
    scene.clock.at += timedelta(days=1)
    await scene.hold(caller, "1", tokens=7)
    assert await release(scene) == 1
    counter = await scene.counter(caller)
    assert (counter["total_held"], counter["day_held"], counter["week_held"]) == (1, 1, 1)
    assert (counter["minute_tokens"], counter["minute_requests"], counter["concurrent"]) == (7, 1, 1)


async def test_any_number_of_processes_may_release_while_calls_settle(scene: Scene) -> None:
    callers = [await scene.a_caller(credit="1000") for _ in range(3)]
    held = [(caller, (await scene.hold(caller)).call_id) for caller in callers for _ in range(40)]
    accepted = scene.clock.at
    scene.clock.at += timedelta(minutes=15)
    await scene.expire(*[call_id for _, call_id in held])
    meter = scene.meter()
    settling = [meter.settle(costing(caller, call_id, accepted, "0.5")) for caller, call_id in held[::2]]
    released = await asyncio.gather(*(release(scene) for _ in range(5)), *settling)
    assert 60 <= sum(each for each in released if each is not None) <= 120
    for caller in callers:
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (10, 0, 0)
    assert await scene.pool.fetchval("SELECT count(*) FROM holds") == 0
