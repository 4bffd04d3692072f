"""Calls burn grants in one order, exactly, and what no grant carries goes to `unbilled`."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from tests.builders import BORN, a_grant, an_organization, seeded
from tests.ledger.books import Pool, assert_balanced, assert_grants_add_up

from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId, OrganizationId, uuid7
from tollgate.ledger.model import UNBILLED, Grant, GrantCategory, credits_of

HOUR = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=BORN.tzinfo)


@dataclass(frozen=True, slots=True)
class Used:
    """One call that cost something."""

    owner: OrganizationId
    id: CallId
    amount: Decimal
    at: datetime


def a_call(owner: OrganizationId, amount: str, *, at: datetime = BORN + HOUR) -> Used:
    return Used(owner, CallId(new_id(at)), Decimal(amount), at)


async def charge(pool: Pool, calls: Iterable[Used]) -> dict[CallId, Decimal]:
    """What each call took from credits, of those that took anything."""
    charges = [(call.owner, call.id, call.amount, "USD", call.at) for call in calls]
    taken = await pool.fetchval("SELECT ledger_charge_calls($1::ledger_charge[], $2)", charges, BORN + 9 * HOUR)
    return {CallId(charge[1]): amount for charge, amount in zip(charges, taken, strict=True) if amount}


async def paid_by(pool: Pool, call: Used) -> dict[str, Decimal]:
    """What each account paid for the call."""
    rows = await pool.fetch(
        "SELECT debit_account, amount FROM transfers WHERE organization_id = $1 AND cause_id = $2", call.owner, call.id
    )
    return dict(map(tuple, rows))


async def remaining(pool: Pool, *grants: Grant) -> list[Decimal]:
    return [await pool.fetchval("SELECT remaining FROM grants WHERE id = $1", grant.id) for grant in grants]


class Reference:
    """Grants burnt one by one, as billing-rules §6 says, for comparison."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.left = {grant: grant.amount for grant in sorted(grants, key=self._burn_order)}

    @staticmethod
    def _burn_order(grant: Grant) -> tuple[Any, ...]:
        is_paid = grant.category is GrantCategory.PAID
        return (grant.priority, grant.expires_at or NEVER, is_paid, grant.created_at, grant.id)

    def pay(self, call: Used) -> dict[str, Decimal]:
        due, payments = call.amount, {}
        for grant, left in self.left.items():
            part = min(due, left)
            if part > 0 and (grant.expires_at is None or grant.expires_at > call.at):
                payments[credits_of(grant.id)] = part
                self.left[grant] -= part
                due -= part
        return {**payments, UNBILLED: due} if due else payments


class TestBurning:
    async def test_a_call_may_span_several_grants_and_overflow(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        first, second = await a_grant(database, owner, "1", priority=1), await a_grant(database, owner, "0.5")
        call = a_call(owner, "2.000000000001")
        assert await charge(pool, [call]) == {call.id: Decimal("1.5")}
        assert await paid_by(pool, call) == {
            credits_of(first.id): Decimal(1),
            credits_of(second.id): Decimal("0.5"),
            UNBILLED: Decimal("0.500000000001"),
        }
        assert await remaining(pool, first, second) == [0, 0]
        await assert_balanced(pool)

    @pytest.mark.parametrize(
        ("sooner", "later"),
        [
            ({"priority": 10, "expires_at": None}, {"priority": 20, "expires_at": BORN + 2 * HOUR}),
            ({"expires_at": BORN + 3 * HOUR}, {"expires_at": BORN + 4 * HOUR, "category": "promotional"}),
            ({"expires_at": BORN + 3 * HOUR}, {"expires_at": None, "category": "promotional"}),
            ({"category": "promotional", "now": BORN + HOUR / 2}, {"category": "paid"}),
            ({"now": BORN}, {"now": BORN + HOUR / 2}),
        ],
        ids=["priority", "expiry", "expiry before none", "promotional", "age"],
    )
    async def test_grants_burn_in_order(
        self, database: Database, pool: Pool, sooner: dict[str, Any], later: dict[str, Any]
    ) -> None:
        owner = (await an_organization(database)).id
        last = await a_grant(database, owner, "1", **_terms(later))
        first = await a_grant(database, owner, "1", **_terms(sooner))
        await charge(pool, [a_call(owner, "0.6")])
        assert await remaining(pool, first, last) == [Decimal("0.4"), 1]

    async def test_a_grant_pays_for_what_was_accepted_before_it_expired_and_nothing_else(
        self, database: Database, pool: Pool
    ) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", expires_at=BORN + HOUR)
        before, at_the_end = a_call(owner, "1", at=BORN + HOUR - timedelta(milliseconds=1)), a_call(owner, "1")
        assert await charge(pool, [at_the_end, before]) == {before.id: 1}
        assert await paid_by(pool, at_the_end) == {UNBILLED: 1}
        assert await remaining(pool, grant) == [9]

    async def test_credit_of_another_organization_or_currency_is_not_touched(
        self, database: Database, pool: Pool
    ) -> None:
        owner, other = (await an_organization(database)).id, (await an_organization(database)).id
        grants = [await a_grant(database, other, "1"), await a_grant(database, owner, "1", currency="EUR")]
        assert await charge(pool, [a_call(owner, "1")]) == {}
        assert await remaining(pool, *grants) == [1, 1]

    async def test_a_free_call_posts_nothing(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        call = a_call(owner, "0")
        assert await charge(pool, [call]) == {}
        assert await paid_by(pool, call) == {}


def _terms(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "category": GrantCategory(given.get("category", "paid"))}


async def test_any_grants_are_burnt_as_one_by_one(database: Database, pool: Pool) -> None:
    """Forty organizations at once, each with grants and calls of its own, charged in three batches."""
    chance = seeded(5)
    owners = [OrganizationId(uuid7(BORN, number)) for number in range(40)]
    references = {owner: Reference([await _some_grant(database, owner, chance) for _ in range(6)]) for owner in owners}
    expected: dict[CallId, dict[str, Decimal]] = defaultdict(dict)
    for batch in range(3):
        calls = [_some_call(owner, chance, batch) for owner in owners for _ in range(chance.randrange(1, 9))]
        for call in sorted(calls, key=lambda call: call.id):
            expected[call.id] = references[call.owner].pay(call)
        chance.shuffle(calls)
        answers = await charge(pool, calls)
        for call in calls:
            assert await paid_by(pool, call) == expected[call.id]
            assert answers.get(call.id, 0) == sum(expected[call.id].values()) - expected[call.id].get(UNBILLED, 0)
    for reference in references.values():
        assert await remaining(pool, *reference.left) == list(reference.left.values())
    await assert_balanced(pool)
    await assert_grants_add_up(pool)


async def _some_grant(database: Database, owner: OrganizationId, chance: Random) -> Grant:
    return await a_grant(
        database,
        owner,
        str(Decimal(chance.randrange(1, 5 * 10**12)).scaleb(-12)),
        now=BORN + chance.randrange(2) * HOUR,
        priority=chance.choice([10, 50]),
        category=chance.choice([*GrantCategory]),
        expires_at=chance.choice([None, *(BORN + hours * HOUR for hours in (3, 4, 5))]),
    )


def _some_call(owner: OrganizationId, chance: Random, batch: int) -> Used:
    amount = chance.choice([0, chance.randrange(10**12), chance.randrange(10**13)])
    at = BORN + (2 + batch) * HOUR + timedelta(milliseconds=chance.randrange(2 * 3_600_000))
    return a_call(owner, str(Decimal(amount).scaleb(-12)), at=at)
