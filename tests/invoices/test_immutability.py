"""An issued invoice never changes, because the database does not let it."""

from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at

from tollgate.invoices.model import Heading
from tollgate.kit.tokens import Kind

ADD_LINE = "INSERT INTO invoice_lines (organization_id, invoice_id, n, type, amount_exact, amount)"
REFUSED = asyncpg.exceptions.RestrictViolationError


@pytest.fixture
async def issued(books: Books) -> Heading:
    """An invoice over 1.60 USD that is not paid yet."""
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5), {Kind.COMPLETION: 1_000_000}))
    return (await books.close(organization, NOVEMBER, now=AFTER)).heading


async def move(books: Books, status: str, **more: Any) -> None:
    assignments = ", ".join(f"{name} = ${place}" for place, name in enumerate(more, start=2))
    statement = f"UPDATE invoices SET status = $1{', ' + assignments if more else ''}"
    await books.pool.execute(statement, status, *more.values())


CHANGES = (
    "UPDATE invoices SET total = total + 1, subtotal = subtotal + 1",
    "UPDATE invoices SET number = 'TG-2026-000002'",
    "UPDATE invoices SET document = '{}'",
    "UPDATE invoices SET status = 'paid', paid_at = now(), customer_name = 'Somebody else'",
    "UPDATE invoices SET status = 'finalised'",
    "UPDATE invoices SET due_at = due_at + interval '1 day'",
    "DELETE FROM invoices",
    "UPDATE invoice_lines SET amount = 0",
    "DELETE FROM invoice_lines",
    f"{ADD_LINE} SELECT organization_id, id, 2, 'credits', -1, -1 FROM invoices",
    "TRUNCATE invoices CASCADE",
    "TRUNCATE invoice_lines CASCADE",
)


@pytest.mark.usefixtures("issued")
async def test_the_database_refuses_every_change(books: Books) -> None:
    accepted = [change for change in CHANGES if not await refuses(books, change)]

    assert accepted == []


async def refuses(books: Books, change: str) -> bool:
    try:
        await books.pool.execute(change)
    except REFUSED:
        return True
    return False


@pytest.mark.usefixtures("issued")
async def test_it_may_be_given_up_and_paid_after_all(books: Books) -> None:
    await move(books, "uncollectible")
    await move(books, "paid", paid_at=AFTER, amount_paid=Decimal("1.6"))

    with pytest.raises(REFUSED):
        await move(books, "uncollectible", paid_at=None, amount_paid=Decimal(0))


@pytest.mark.usefixtures("issued")
async def test_a_void_one_stays_void(books: Books) -> None:
    await move(books, "void")

    with pytest.raises(REFUSED):
        await move(books, "paid", paid_at=AFTER)


@pytest.mark.usefixtures("issued")
async def test_paid_without_a_time_is_refused(books: Books) -> None:
    with pytest.raises(asyncpg.exceptions.CheckViolationError):
        await move(books, "paid", amount_paid=Decimal("1.6"))


@pytest.mark.usefixtures("issued")
async def test_paid_without_a_payment_is_refused(books: Books) -> None:
    with pytest.raises(asyncpg.exceptions.CheckViolationError):
        await move(books, "paid", paid_at=AFTER)


async def test_there_is_one_for_each_month(books: Books, issued: Heading) -> None:
    columns = ", ".join(
        row["column_name"]
        for row in await books.pool.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'invoices'"
            " AND column_name NOT IN ('id', 'number')"
        )
    )
    with pytest.raises(asyncpg.exceptions.UniqueViolationError, match="invoices_one_per_month"):
        await books.pool.execute(
            f"INSERT INTO invoices (id, number, {columns}) SELECT gen_random_uuid(), 'X', {columns} FROM invoices"
            " WHERE id = $1",
            issued.id,
        )


async def test_lines_without_an_invoice_are_refused_at_commit(books: Books) -> None:
    organization = await books.an_organization()
    with pytest.raises(asyncpg.exceptions.ForeignKeyViolationError):
        await books.pool.execute(f"{ADD_LINE} VALUES ($1, gen_random_uuid(), 1, 'credits', -1, -1)", organization.id)
