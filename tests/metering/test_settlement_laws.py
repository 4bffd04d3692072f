"""What holds of any calls: one sum, whichever rows it is taken from, and whatever order they arrive in."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import a_grant, seeded
from tests.ledger.books import assert_balanced, assert_grants_add_up
from tests.metering.scene import PRICE, Caller, Pool, Scene, a_settlement, free

from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering import store
from tollgate.metering.model import CallStatus, ChargeRecord, Settlement
from tollgate.metering.rules import charge_records
from tollgate.pricing.model import Unit
from tollgate.pricing.rules import rate

_SUMS = """
    SELECT c.organization_id, count(*) AS calls, sum(c.amount) AS calls_amount, sum(c.credits_amount) AS calls_credits,
           max(r.calls) AS rollup_calls, max(r.amount) AS rollup_amount, max(r.credits) AS rollup_credits,
           max(t.amount) AS transferred, max(t.credits) AS transferred_credits, max(n.total_used) AS counted
    FROM calls AS c,
         LATERAL (SELECT sum(calls) AS calls, sum(amount) AS amount, sum(credits_amount) AS credits FROM rollups
                  WHERE organization_id = c.organization_id) AS r,
         LATERAL (SELECT coalesce(sum(amount), 0) AS amount,
                         coalesce(sum(amount) FILTER (WHERE debit_account <> 'unbilled'), 0) AS credits
                  FROM transfers WHERE organization_id = c.organization_id AND cause = 'call') AS t,
         LATERAL (SELECT total_used FROM counters
                  WHERE organization_id = c.organization_id AND scope_id = c.organization_id) AS n
    GROUP BY c.organization_id
"""

_PART_SUMS = """
    SELECT n.scope_id, n.total_used, calls.amount AS calls_amount, rollups.amount AS rollup_amount
    FROM counters AS n,
         LATERAL (SELECT coalesce(sum(amount), 0) AS amount FROM calls AS c
                  WHERE c.organization_id = n.organization_id
                    AND n.scope_id IN (c.organization_id, c.project_id, c.key_id)) AS calls,
         LATERAL (SELECT coalesce(sum(amount), 0) AS amount FROM rollups AS r
                  WHERE r.organization_id = n.organization_id
                    AND n.scope_id IN (r.organization_id, r.project_id, r.key_id)) AS rollups
"""


async def test_every_sum_of_any_calls_is_the_same(scene: Scene) -> None:
    """Calls of several keys, sent in random batches through several processes, many of them more than once."""
    chance = seeded(17)
    callers = [
        await scene.a_caller(credit=str(chance.randrange(1, 4)), project=chance.random() < 0.7) for _ in range(4)
    ]
    callers += [await scene.a_key(caller.organization_id) for caller in callers]
    ended = [await _some_call(scene, chance.choice(callers), chance) for _ in range(400)]
    meters = [scene.meter() for _ in range(3)]
    sent = [*ended, *chance.sample(ended, 150)]
    chance.shuffle(sent)
    await asyncio.gather(*(chance.choice(meters).settle(each) for each in sent))

    rows = await scene.pool.fetch(_SUMS)
    assert sum(row["calls"] for row in rows) == 400
    for row in rows:
        assert row["calls"] == row["rollup_calls"]
        assert row["calls_amount"] == row["rollup_amount"] == row["transferred"] == row["counted"]
        assert row["calls_credits"] == row["rollup_credits"] == row["transferred_credits"]
    for row in await scene.pool.fetch(_PART_SUMS):
        assert row["total_used"] == row["calls_amount"] == row["rollup_amount"]
    assert sum(row["calls_amount"] for row in rows) == sum(each.call.amount for each in ended)
    assert await scene.pool.fetchval("SELECT count(*) FROM holds") == 0
    assert await scene.pool.fetchval("SELECT sum(total_held) + sum(day_held) + sum(concurrent) FROM counters") == 0
    await assert_balanced(scene.pool)
    await assert_grants_add_up(scene.pool)


async def _some_call(scene: Scene, caller: Caller, chance: Random) -> Settlement:
    """A call accepted in some quarter-hour of the day, with or without a hold, and of any ending."""
    at = scene.clock.at - timedelta(seconds=chance.randrange(12 * 3600))
    call_id = CallId(new_id(at))
    if chance.random() < 0.7:
        await scene.admit(scene.request(caller, "0.000001")._replace(call_id=call_id))
    usage = UsageQuantities(
        {kind: chance.choice([0, chance.randrange(20_000)]) for kind in (Kind.PROMPT, Kind.COMPLETION, Kind.WEB_SEARCH)}
    )
    return _ended(caller, call_id, at, usage, chance.choice([*CallStatus]))


def _ended(caller: Caller, call_id: CallId, at: Any, usage: UsageQuantities, status: CallStatus) -> Settlement:
    counts = {"prompt": usage[Kind.PROMPT], "completion": usage[Kind.COMPLETION]}
    ended = a_settlement(caller, call_id, at, **counts, status=status)
    if status in {CallStatus.INSURED, CallStatus.FAILED}:
        return free(ended, status)
    return ended._replace(charges=charge_records(call_id, rate(usage, PRICE), usage))


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_order_of_arrival_does_not_matter(scene: Scene, database: Database, seed: int) -> None:
    """Two organizations make the same calls; those of one arrive in another order and in other batches."""
    chance = seeded(seed)
    callers = [await scene.a_caller() for _ in range(2)]
    for caller in callers:
        for amount in ("0.5", "0.75", "0.000000000001"):
            await a_grant(database, caller.organization_id, amount)
    calls = [
        (
            scene.clock.at - timedelta(minutes=chance.randrange(300)),
            UsageQuantities({Kind.PROMPT: chance.randrange(30_000), Kind.COMPLETION: chance.randrange(9_000)}),
        )
        for _ in range(120)
    ]
    for caller in callers:
        ended = [_ended(caller, CallId(new_id(at)), at, usage, CallStatus.SETTLED) for at, usage in calls]
        chance.shuffle(ended)
        for batch in _cut(ended, chance):
            await scene.settle(*batch)
    one, other = [await _outcome(scene, caller) for caller in callers]
    assert one == other


def _cut(ended: Sequence[Settlement], chance: Random) -> Iterable[Sequence[Settlement]]:
    rest = list(ended)
    while rest:
        size = chance.randrange(1, 40)
        yield rest[:size]
        rest = rest[size:]


async def _outcome(scene: Scene, caller: Caller) -> list[list[tuple[Any, ...]]]:
    """Everything that is the same for two organizations with the same calls, whatever their ids."""
    queries = (
        "SELECT bucket, model, kind, calls, quantity, amount FROM rollups WHERE organization_id = $1 ORDER BY 1, 2, 3",
        "SELECT sum(credits_amount) FROM rollups WHERE organization_id = $1",
        "SELECT total_used, day_used, week_used, month_used FROM counters WHERE organization_id = $1 ORDER BY 1",
        "SELECT amount, remaining FROM grants WHERE organization_id = $1 ORDER BY 1",
        """SELECT debits, credits FROM ledger_accounts WHERE organization_id = $1
           AND account IN ('unbilled', 'revenue') ORDER BY account""",
    )
    return [[tuple(row) for row in await scene.pool.fetch(query, caller.organization_id)] for query in queries]


async def test_amounts_of_every_size_are_kept_exactly(scene: Scene) -> None:
    caller = await scene.a_caller()
    amounts = [Decimal(text) for text in ("0.000000000001", "12345678901234.123456789012", "1E-12", "99999999999999")]
    for amount in amounts:
        ended = a_settlement(
            caller, CallId(new_id(scene.clock.at)), scene.clock.at, amount=amount, origin_amount=amount
        )
        charge = ended.charges[0]._replace(kind=Kind.PROMPT, amount=amount, origin_amount=amount)
        await scene.settle(ended._replace(charges=(charge,)))
    total = sum(amounts)
    assert await scene.pool.fetchval("SELECT sum(amount) FROM calls") == total
    assert await scene.pool.fetchval("SELECT sum(amount) FROM rollups") == total
    assert await scene.pool.fetchval("SELECT sum(amount) FROM transfers") == total
    assert (await scene.counter(caller))["total_used"] == total


numbers = st.one_of(
    st.decimals(min_value=0, max_value=10**25, allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal("0E-12"), Decimal("1E-12"), Decimal("1E+25"), Decimal("99999999999999999999999999.9")]),
)
charges = st.builds(
    ChargeRecord,
    call_id=st.uuids().map(CallId),
    kind=st.sampled_from(Kind),
    unit=st.none() | st.sampled_from(Unit),
    unit_price=st.none() | numbers,
    quantity=st.integers(0, 10**37),
    origin_amount=numbers,
    amount=numbers,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(charges, max_size=20))
async def test_charges_arrive_as_text_as_they_would_as_the_drivers_own(pool: Pool, sent: list[ChargeRecord]) -> None:
    arrived = await pool.fetchrow(
        "SELECT $1::text::charge_record[]::text AS of_text, $2::charge_record[]::text AS of_the_driver",
        store._as_text(sent),
        sent,
    )
    assert arrived is not None
    assert arrived["of_text"] == arrived["of_the_driver"]


@pytest.mark.parametrize("word", [*Kind, *Unit])
def test_no_word_in_a_charge_is_to_quote(word: str) -> None:
    assert word.isidentifier()
    assert word.isascii()
