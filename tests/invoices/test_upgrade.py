"""Invoices of before payments were recorded: what was paid and given up by hand is in the books afterwards."""

import asyncpg
import pytest
from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at
from tests.metering.test_downgrade import down_to

from tollgate.entrypoints import doctor
from tollgate.infra import upgrades
from tollgate.infra.database import Database
from tollgate.infra.migrations import MigrationFailed
from tollgate.invoices.model import Heading, PaymentOrder
from tollgate.invoices.proofs import CHECKS
from tollgate.invoices.service import payments
from tollgate.kit.tokens import Kind

BEFORE = "0014_events"


@pytest.fixture
def books(database: Database, pool: "asyncpg.Pool[asyncpg.Record]") -> Books:
    return Books(database, pool)


async def _invoiced(books: Books) -> Heading:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 3), {Kind.PROMPT: 25_000_000}))
    return (await books.close(organization, NOVEMBER, now=AFTER)).heading


async def _complaints(books: Books) -> set[str]:
    return {*(await doctor.examine(books.database)).complaints} & {check.name for check in CHECKS}


async def test_what_was_paid_by_hand_is_a_payment_once_and_what_came_later_is_not_forgotten(
    database_url: str, books: Books
) -> None:
    paid, lost, owed = [await _invoiced(books) for _ in range(3)]
    await down_to(database_url, BEFORE)
    await books.pool.execute("UPDATE invoices SET status = 'paid', paid_at = $2 WHERE id = $1", paid.id, AFTER)
    await books.pool.execute("UPDATE invoices SET status = 'uncollectible' WHERE id = $1", lost.id)

    await upgrades.upgrade(database_url)
    await down_to(database_url, BEFORE)
    await upgrades.upgrade(database_url)

    acts = await books.pool.fetch("SELECT invoice_id, kind FROM invoice_acts")
    assert [tuple(row) for row in acts] == [(lost.id, "uncollectible")]
    kept = await books.pool.fetch("SELECT invoice_id, amount, occurred_at FROM invoice_payments")
    assert [tuple(row) for row in kept] == [(paid.id, 10, AFTER)]
    assert await _complaints(books) == set()

    async with books.database.write() as session:
        await payments.mark_paid(session, invoice_id=owed.id, order=PaymentOrder(), by=None, now=AFTER)
    with pytest.raises(MigrationFailed, match="Payments cannot be kept"):
        await down_to(database_url, BEFORE)
