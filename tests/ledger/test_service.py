"""Transfers are appended and never changed; balances are their fold; grants are funded by them."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import asyncpg
import pytest
from tests.builders import BORN, a_grant, an_organization, seeded
from tests.ledger.books import Pool, assert_balanced, assert_grants_add_up

from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import OrganizationId, uuid7
from tollgate.ledger import service
from tollgate.ledger.model import CASH, PROMOTIONS, RECEIVABLE, UNBILLED, GrantCategory, Transfer, credits_of

SOMEBODY = OrganizationId(uuid7(BORN, 1))


def a_transfer(amount: str = "1.5", debit: str = RECEIVABLE, credit: str = UNBILLED, **changes: object) -> Transfer:
    ordinary = Transfer(
        organization_id=SOMEBODY,
        id=new_id(BORN),
        debit_account=debit,
        credit_account=credit,
        amount=Decimal(amount),
        currency="USD",
        cause="invoice",
        cause_id=new_id(BORN),
        reverses_id=None,
        occurred_at=BORN,
        posted_at=BORN,
    )
    return replace(ordinary, **changes)  # type: ignore[arg-type]  # each field by its own name


async def post(database: Database, *transfers: Transfer) -> list[bool]:
    async with database.write() as session:
        return [await service.post(session, transfer) for transfer in transfers]


async def balance_of(database: Database, account: str, owner: OrganizationId = SOMEBODY) -> Decimal:
    async with database.read() as session:
        return await service.balance(session, organization_id=owner, account=account, currency="USD")


class TestPosting:
    async def test_a_transfer_moves_both_balances(self, database: Database) -> None:
        assert await post(database, a_transfer("1.5"), a_transfer("0.25")) == [True, True]
        assert await balance_of(database, RECEIVABLE) == Decimal("1.75")
        assert await balance_of(database, UNBILLED) == Decimal("-1.75")

    async def test_balances_are_the_fold_of_any_transfers(self, database: Database, pool: Pool) -> None:
        chance = seeded(11)
        accounts = ("unbilled", "receivable", "revenue", "rounding", "cash")
        transfers = []
        for _ in range(200):
            debit, credit = chance.sample(accounts, 2)
            amount = Decimal(chance.randrange(1, 10**15)).scaleb(-12)
            owner = OrganizationId(uuid7(BORN, chance.randrange(3)))
            transfers.append(a_transfer(str(amount), debit, credit, organization_id=owner))
        replayed = [*transfers, *chance.sample(transfers, 60)]
        chance.shuffle(replayed)
        answers = await asyncio.gather(*(post(database, transfer) for transfer in replayed))
        assert sum(posted for [posted] in answers) == 200
        await assert_balanced(pool)

    async def test_a_replay_changes_nothing(self, database: Database, pool: Pool) -> None:
        transfer = a_transfer()
        answers = await asyncio.gather(*(post(database, transfer) for _ in range(10)))
        assert sorted(answers) == [[False]] * 9 + [[True]]
        assert await post(database, replace(transfer, amount=Decimal(99))) == [False]
        assert await balance_of(database, RECEIVABLE) == Decimal("1.5")
        await assert_balanced(pool)

    async def test_a_reversal_undoes_its_transfer(self, database: Database) -> None:
        made = a_transfer("0.000000000001")
        undone = a_transfer("0.000000000001", UNBILLED, RECEIVABLE, reverses_id=made.id)
        await post(database, made, undone)
        assert await balance_of(database, RECEIVABLE) == await balance_of(database, UNBILLED) == 0

    @pytest.mark.parametrize(("amount", "debit"), [("0", RECEIVABLE), ("-1", RECEIVABLE), ("1", UNBILLED)])
    async def test_nothing_and_nowhere_cannot_be_posted(self, database: Database, amount: str, debit: str) -> None:
        with pytest.raises(Exception, match="violates check constraint"):
            await post(database, a_transfer(amount, debit))

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE transfers SET amount = 2",
            "DELETE FROM transfers",
            "TRUNCATE transfers",
            "INSERT INTO transfers SELECT * FROM transfers ON CONFLICT (organization_id, id) DO UPDATE SET amount = 2",
        ],
    )
    async def test_what_is_posted_cannot_be_changed(self, database: Database, pool: Pool, change: str) -> None:
        await post(database, a_transfer())
        with pytest.raises(asyncpg.RestrictViolationError, match="transfers is append-only"):
            await pool.execute(change)
        assert await pool.fetchval("SELECT amount FROM transfers") == Decimal("1.5")

    async def test_an_account_without_transfers_holds_nothing(self, database: Database) -> None:
        assert await balance_of(database, "unheard of") == 0


class TestGranting:
    @pytest.mark.parametrize(
        ("category", "source"), [(GrantCategory.PAID, CASH), (GrantCategory.PROMOTIONAL, PROMOTIONS)]
    )
    async def test_a_grant_posts_the_transfer_that_funds_it(
        self, database: Database, pool: Pool, category: GrantCategory, source: str
    ) -> None:
        owner = (await an_organization(database)).id
        grant = await a_grant(database, owner, "5", category=category)
        assert await balance_of(database, credits_of(grant.id), owner) == -5
        assert await balance_of(database, source, owner) == 5
        posted = await pool.fetchrow("SELECT cause, cause_id, occurred_at FROM transfers")
        assert posted is not None
        assert tuple(posted) == ("grant", grant.id, grant.created_at)
        await assert_balanced(pool)
        await assert_grants_add_up(pool)

    async def test_grants_are_listed_newest_first_as_they_were_given(self, database: Database) -> None:
        owner = (await an_organization(database)).id
        given = [
            await a_grant(database, owner, amount, now=BORN + timedelta(days=day), priority=day, reason=f"day {day}")
            for day, amount in enumerate(("1", "2.5", "0.000000000001"), start=1)
        ]
        async with database.read() as session:
            assert await service.grants(session, organization_id=owner, before=None, count=9) == given[::-1]
            assert await service.grants(session, organization_id=SOMEBODY, before=None, count=9) == []
            assert await service.grants(session, organization_id=owner, before=given[-1].id, count=1) == [given[-2]]

    @pytest.mark.parametrize(
        ("terms", "field"),
        [
            ({"amount": "0"}, "amount"),
            ({"amount": "-1"}, "amount"),
            ({"amount": "1000000000000000000.000000000001"}, "amount"),
            ({"amount": "1", "expires_at": BORN}, "expires_at"),
            ({"amount": "1", "expires_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))}, "expires_at"),
            ({"amount": "1", "expires_at": BORN - timedelta(days=1)}, "expires_at"),
        ],
    )
    async def test_a_grant_that_gives_nothing_is_refused_and_leaves_no_trace(
        self, database: Database, pool: Pool, terms: dict[str, object], field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await a_grant(database, SOMEBODY, **terms)  # type: ignore[arg-type]  # the amount is text
        assert refused.value.field == field
        assert await pool.fetchval("SELECT count(*) FROM transfers") == 0


class TestReversing:
    async def test_takes_every_transfer_of_a_cause_back_once(self, database: Database, pool: Pool) -> None:
        cause = new_id(BORN)
        await post(
            database,
            a_transfer("3", cause_id=cause),
            a_transfer("0.5", RECEIVABLE, "rounding", cause_id=cause),
            a_transfer("7"),
        )

        for _ in range(2):
            async with database.write() as session:
                await service.reverse(
                    session, organization_id=SOMEBODY, caused=("invoice", cause), cause="invoice_void", now=BORN
                )

        assert await balance_of(database, RECEIVABLE) == Decimal(7)
        assert await balance_of(database, "rounding") == 0
        named = "SELECT count(*) FROM transfers WHERE reverses_id IS NOT NULL AND cause = 'invoice_void'"
        assert await pool.fetchval(named) == 2
        await assert_balanced(pool)

    async def test_gives_a_grant_back_what_it_paid_unless_it_has_ended(self, database: Database) -> None:
        owner = (await an_organization(database)).id
        grant, cause = await a_grant(database, owner, "5"), new_id(BORN)
        paid = a_transfer("2", credits_of(grant.id), UNBILLED, organization_id=owner, cause_id=cause)
        async with database.write() as session:
            await service.burn(session, grant_id=grant.id, transfer=paid)

        async with database.write() as session:
            await service.reverse(
                session, organization_id=owner, caused=("invoice", cause), cause="invoice_void", now=BORN
            )
        async with database.read() as session:
            (whole,) = await service.grants(session, organization_id=owner, before=None, count=1)

        again = replace(paid, id=new_id(BORN), cause_id=new_id(BORN))
        async with database.write() as session:
            await service.burn(session, grant_id=grant.id, transfer=again)
            await service.void_grant(session, grant=(owner, grant.id), reason="a mistake", by=None, now=BORN)
        with pytest.raises(Conflict, match="has ended meanwhile"):
            async with database.write() as session:
                await service.reverse(
                    session, organization_id=owner, caused=("invoice", again.cause_id), cause="invoice_void", now=BORN
                )

        assert (whole.remaining, whole.burned) == (Decimal(5), Decimal(0))
