"""Adjustments move the balance at once: a favour is credit, a charge is paid as a call would be."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.builders import BORN, a_grant, an_organization
from tests.ledger.books import Pool, assert_balanced, assert_grants_add_up
from tests.ledger.test_charging import a_call, charge, paid_by
from tests.ledger.test_ending import as_it_is, void

from tollgate.infra.database import Database
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import OrganizationId
from tollgate.ledger import service
from tollgate.ledger.model import UNBILLED, Adjustment, AdjustmentOrder, Grant, GrantCategory, credits_of

HOUR = timedelta(hours=1)


async def adjust(
    database: Database, owner: OrganizationId, amount: str, *, reason: str = "a reason", hours: float = 1
) -> Adjustment:
    order = AdjustmentOrder(Decimal(amount), "USD", reason)
    async with database.write() as session:
        return await service.adjust(session, organization_id=owner, order=order, by=None, now=BORN + hours * HOUR)


async def grants_of(database: Database, owner: OrganizationId) -> list[Grant]:
    async with database.read() as session:
        return await service.grants(session, organization_id=owner, before=None, count=10)


async def posted(pool: Pool, adjustment: Adjustment) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT debit_account, credit_account, amount, cause FROM transfers WHERE cause_id = $1 ORDER BY 1",
        adjustment.id,
    )
    return [tuple(row) for row in rows]


class TestAFavour:
    async def test_is_a_grant_that_was_given(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id

        adjustment = await adjust(database, owner, "1.50", reason="an outage")

        (grant,) = await grants_of(database, owner)
        assert grant.id == adjustment.grant_id == adjustment.id
        assert (grant.category, grant.remaining, grant.expires_at) == (GrantCategory.PROMOTIONAL, Decimal("1.5"), None)
        assert grant.reason == "an outage"
        assert await posted(pool, adjustment) == [
            ("promotions", credits_of(grant.id), Decimal("1.5"), "adjustment"),
        ]
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_burns_after_what_would_expire_and_before_what_was_paid_for(
        self, database: Database, pool: Pool
    ) -> None:
        owner = (await an_organization(database)).id
        paid = await a_grant(database, owner, "1")
        expiring = await a_grant(database, owner, "1", expires_at=BORN + 9 * HOUR)
        favour = await adjust(database, owner, "1")

        call = a_call(owner, "1.5", at=BORN + 2 * HOUR)
        await charge(pool, [call])

        assert await paid_by(pool, call) == {credits_of(expiring.id): 1, f"credits:{favour.id}": Decimal("0.5")}
        assert (await as_it_is(database, paid)).burned == 0

    async def test_can_be_taken_back_as_any_grant(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        await adjust(database, owner, "2")
        (grant,) = await grants_of(database, owner)

        assert (await void(database, grant, at=BORN + 2 * HOUR)).voided == 2

        assert await pool.fetchval("SELECT debits - credits FROM ledger_accounts WHERE account = 'promotions'") == 0
        await assert_grants_add_up(pool)


class TestACharge:
    async def test_is_paid_by_credits_and_unbilled_for_the_rest(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "1")

        adjustment = await adjust(database, owner, "-1.50")

        assert [adjustment.amount, adjustment.credits_amount, adjustment.grant_id] == [Decimal("-1.5"), 1, None]
        assert await posted(pool, adjustment) == [
            (credits_of(grant.id), "revenue", 1, "adjustment"),
            (UNBILLED, "revenue", Decimal("0.5"), "adjustment"),
        ]
        assert [each.burned for each in await grants_of(database, owner)] == [1]
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_without_credit_is_all_unbilled(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        await a_grant(database, owner, "9", expires_at=BORN + HOUR)

        adjustment = await adjust(database, owner, "-0.000000000001")

        assert adjustment.credits_amount == 0
        assert [account for account, *_ in await posted(pool, adjustment)] == [UNBILLED]


@pytest.mark.parametrize("sign", ["", "-"])
async def test_every_digit_of_the_largest_adjustment_is_kept(database: Database, pool: Pool, sign: str) -> None:
    owner, amount = (await an_organization(database)).id, "999999999999999999.999999999999"
    adjustment = await adjust(database, owner, sign + amount)
    assert [moved for _, _, moved, _ in await posted(pool, adjustment)] == [Decimal(amount)]


async def test_an_adjustment_of_nothing_is_refused(database: Database, pool: Pool) -> None:
    owner = (await an_organization(database)).id
    with pytest.raises(InvalidRequest) as refused:
        await adjust(database, owner, "0.00")
    assert refused.value.field == "amount"
    assert await pool.fetchval("SELECT count(*) FROM adjustments") == 0


@pytest.mark.parametrize(
    "change", ["UPDATE adjustments SET amount = 2", "DELETE FROM adjustments", "TRUNCATE adjustments"]
)
async def test_what_was_adjusted_cannot_be_changed(database: Database, pool: Pool, change: str) -> None:
    await adjust(database, (await an_organization(database)).id, "1")
    with pytest.raises(asyncpg.RestrictViolationError, match="adjustments is append-only"):
        await pool.execute(change)


async def test_adjustments_are_listed_newest_first_as_they_were_made(database: Database) -> None:
    owner, other = (await an_organization(database)).id, (await an_organization(database)).id
    made = [await adjust(database, owner, amount, hours=n) for n, amount in enumerate(("1", "-2.5", "3"), start=1)]
    async with database.read() as session:
        assert await service.adjustments(session, organization_id=owner, before=None, count=9) == made[::-1]
        assert await service.adjustments(session, organization_id=owner, before=made[-1].id, count=1) == [made[1]]
        assert await service.adjustments(session, organization_id=other, before=None, count=9) == []
