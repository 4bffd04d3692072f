"""Grants end: what nobody used of them is posted, once, to breakage or back to where it came from."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.builders import BORN, a_grant, an_organization
from tests.ledger.books import Pool, assert_balanced, assert_grants_add_up
from tests.ledger.test_charging import a_call, charge, paid_by

from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.kit.errors import Conflict, NotFound
from tollgate.kit.ids import GrantId, OrganizationId
from tollgate.ledger import service
from tollgate.ledger.model import UNBILLED, Grant, GrantCategory, credits_of

HOUR = timedelta(hours=1)


async def end(database: Database, now: datetime) -> int:
    async with database.write() as session:
        return await service.end_grants(session, now=now)


async def void(database: Database, grant: Grant, *, at: datetime, reason: str = "a mistake") -> Grant:
    async with database.write() as session:
        return await service.void_grant(
            session, grant=(grant.organization_id, grant.id), reason=reason, by=None, now=at
        )


async def as_it_is(database: Database, grant: Grant) -> Grant:
    async with database.read() as session:
        found = await service.grants(session, organization_id=grant.organization_id, before=None, count=100)
    return next(each for each in found if each.id == grant.id)


async def postings(pool: Pool, grant: Grant) -> list[tuple[Any, ...]]:
    """What was taken from the grant, but for what calls burned."""
    rows = await pool.fetch(
        """
        SELECT credit_account, amount, cause, cause_id, occurred_at, posted_at FROM transfers
        WHERE debit_account = $1 AND cause <> 'call'
        """,
        credits_of(grant.id),
    )
    return [tuple(row) for row in rows]


class TestExpiry:
    async def test_makes_what_is_left_breakage(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", expires_at=BORN + 2 * HOUR)
        await charge(pool, [a_call(owner, "4")])

        assert await end(database, BORN + 2 * HOUR - timedelta(microseconds=1)) == 0
        assert await end(database, BORN + 3 * HOUR) == 1

        ended = await as_it_is(database, grant)
        assert [ended.burned, ended.expired, ended.voided, ended.remaining] == [4, 6, 0, 0]
        assert await postings(pool, grant) == [
            ("breakage", 6, "expiry", grant.id, BORN + 2 * HOUR, BORN + 3 * HOUR),
        ]
        assert ended.closed_at == BORN + 3 * HOUR
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_of_a_used_up_grant_posts_nothing(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "1", expires_at=BORN + 2 * HOUR)
        await charge(pool, [a_call(owner, "1")])

        assert [await end(database, BORN + 2 * HOUR) for _ in range(2)] == [1, 0]

        assert await postings(pool, grant) == []
        await assert_grants_add_up(pool)

    async def test_is_posted_once_by_any_number_of_jobs(self, database: Database, pool: Pool) -> None:
        owners = [(await an_organization(database)).id for _ in range(10)]
        grants = [
            await a_grant(database, owner, "1", expires_at=BORN + (1 + place % 3) * HOUR)
            for owner in owners
            for place in range(4)
        ]

        answers = await asyncio.gather(*(end(database, BORN + 5 * HOUR) for _ in range(6)))

        assert sum(answers) == len(grants)
        assert await pool.fetchval("SELECT count(*) FROM transfers WHERE cause = 'expiry'") == len(grants)
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_goes_on_where_one_batch_leaves_off(self, database: Database) -> None:
        owner = (await an_organization(database)).id
        for _ in range(103):
            await a_grant(database, owner, "1", expires_at=BORN + HOUR)

        assert [await end(database, BORN + HOUR) for _ in range(3)] == [100, 3, 0]

    async def test_leaves_a_call_that_is_told_of_afterwards_to_whatever_else_there_is(
        self, database: Database, pool: Pool
    ) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", expires_at=BORN + 2 * HOUR)
        in_time, late = a_call(owner, "1"), a_call(owner, "3")
        other = await a_grant(database, owner, "2", priority=90)
        await charge(pool, [in_time])
        await end(database, BORN + 2 * HOUR)

        await charge(pool, [late])

        assert await paid_by(pool, late) == {credits_of(other.id): 2, UNBILLED: 1}
        assert (await as_it_is(database, grant)).expired == 9
        await assert_balanced(pool)
        await assert_grants_add_up(pool)


class TestVoiding:
    @pytest.mark.parametrize(
        ("category", "source"), [(GrantCategory.PAID, "cash"), (GrantCategory.PROMOTIONAL, "promotions")]
    )
    async def test_gives_what_is_left_back_to_where_it_came_from(
        self, database: Database, pool: Pool, category: GrantCategory, source: str
    ) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", category=category, expires_at=BORN + 9 * HOUR)
        await charge(pool, [a_call(owner, "4")])

        voided = await void(database, grant, at=BORN + 2 * HOUR)

        assert [voided.burned, voided.expired, voided.voided, voided.remaining] == [4, 0, 6, 0]
        assert (voided.voided_at, voided.ends_at, voided.void_reason) == (BORN + 2 * HOUR, BORN + 2 * HOUR, "a mistake")
        assert await postings(pool, grant) == [
            (source, 6, "void", grant.id, BORN + 2 * HOUR, BORN + 2 * HOUR),
        ]
        funded = await pool.fetchval("SELECT id FROM transfers WHERE cause = 'grant'")
        assert await pool.fetchval("SELECT reverses_id FROM transfers WHERE cause = 'void'") == funded
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_twice_is_voiding_once(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10")
        first = await void(database, grant, at=BORN + HOUR)

        again = await void(database, grant, at=BORN + 2 * HOUR, reason="another")

        assert again == first
        assert len(await postings(pool, grant)) == 1

    async def test_at_once_is_voiding_once(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10")

        answers = await asyncio.gather(*(void(database, grant, at=BORN + HOUR, reason=str(n)) for n in range(6)))

        assert len(set(answers)) == 1
        assert len(await postings(pool, grant)) == 1

    async def test_what_is_used_up_or_expired_is_refused(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        used_up = await a_grant(database, owner, "1", priority=1)
        await charge(pool, [a_call(owner, "1")])
        expiring = await a_grant(database, owner, "1", expires_at=BORN + 2 * HOUR)

        with pytest.raises(Conflict, match="used up"):
            await void(database, used_up, at=BORN + HOUR)
        with pytest.raises(Conflict, match="expired at 2026-01-01T02:00:00"):
            await void(database, expiring, at=BORN + 2 * HOUR)
        assert (await as_it_is(database, expiring)).voided_at is None

    async def test_is_for_the_organizations_own_grants(self, database: Database, pool: Pool) -> None:
        owner, other = (await an_organization(database)).id, (await an_organization(database)).id
        grant = await a_grant(database, owner, "1")

        for owned_by, grant_id in ((other, grant.id), (owner, GrantId(new_id(BORN)))):
            with pytest.raises(NotFound):
                async with database.write() as session:
                    await service.void_grant(session, grant=(owned_by, grant_id), reason="", by=None, now=BORN)
        assert await pool.fetchval("SELECT count(*) FROM grants WHERE voided_at IS NOT NULL") == 0

    async def test_ends_a_grant_for_calls_accepted_from_then_on(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10")
        await _mark_as_held(pool, owner, a_call(owner, "1", at=BORN).id)
        await void(database, grant, at=BORN + HOUR)
        before, at_the_end = a_call(owner, "1", at=BORN + HOUR - timedelta(microseconds=1)), a_call(owner, "1")

        assert await charge(pool, [at_the_end, before]) == {before.id: 1}

        assert await paid_by(pool, at_the_end) == {UNBILLED: 1}


async def _mark_as_held(pool: Pool, owner: OrganizationId, call_id: UUID) -> None:
    await pool.execute(
        """
        INSERT INTO holds (organization_id, call_id, key_id, amount, tokens, day_start, week_start, month_start,
                           minute_start, lease_until)
        VALUES ($1, $2, $1, 1, 0, $3, $3, $3, $3, $3)
        """,
        owner,
        call_id,
        BORN,
    )


class TestReferences:
    async def test_are_credited_once(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        terms: dict[str, Any] = {"reference": "wire 17", "expires_at": BORN + HOUR, "reason": "bought"}

        answers = await asyncio.gather(*(a_grant(database, owner, "10.00", **terms) for _ in range(6)))
        later = await a_grant(database, owner, "10", now=BORN + 2 * HOUR, **terms)

        assert len({*answers, later}) == 1
        assert await pool.fetchval("SELECT count(*) FROM grants") == 1
        await assert_grants_add_up(pool)

    @pytest.mark.parametrize(
        "other", [{"amount": "11"}, {"category": GrantCategory.PROMOTIONAL}, {"priority": 7}, {"reason": "sold"}]
    )
    async def test_stand_for_one_grant_on_its_terms(
        self, database: Database, pool: Pool, other: dict[str, Any]
    ) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", reference="wire 17")

        with pytest.raises(Conflict, match=f"differs in {next(iter(other))}") as refused:
            await a_grant(database, owner, **{"amount": "10", "reference": "wire 17", **other})

        assert refused.value.metadata == {
            "grant": f"grt_{grant.id}",
            "differing": [*other],
            "field": "reference",
        }
        assert await pool.fetchval("SELECT sum(amount) FROM grants") == 10

    async def test_are_an_organizations_own(self, database: Database) -> None:
        owners = [(await an_organization(database)).id for _ in range(2)]
        grants = [
            await a_grant(database, owner, amount, reference="1") for owner, amount in zip(owners, "56", strict=True)
        ]
        assert [grant.amount for grant in grants] == [5, 6]

    async def test_tell_what_became_of_their_grant(self, database: Database, pool: Pool) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "10", reference="1")
        await charge(pool, [a_call(owner, "2.5")])
        await void(database, grant, at=BORN + HOUR)

        again = await a_grant(database, owner, "10", reference="1", now=BORN + 2 * HOUR)

        assert (again.id, again.burned, again.voided) == (grant.id, Decimal("2.5"), Decimal("7.5"))
