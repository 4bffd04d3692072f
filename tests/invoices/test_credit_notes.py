"""Credit notes on a real database: what they leave of an invoice, of its payment, and of the ledger."""

import json
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest
from tests.builders import seeded
from tests.invoices.acting import LATER, TEN_DOLLARS, assert_whole, credit, give_up, pay, refund, void
from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at

from tollgate.accounts.model import Organization
from tollgate.infra.identity import new_id
from tollgate.invoices.acts import CreditNote, CreditOrder, LineOrder, Surplus
from tollgate.invoices.model import Heading, Invoice, InvoiceStatus, Payment, PaymentKind, PaymentMethod
from tollgate.invoices.service import credit_notes, payments
from tollgate.invoices.service import invoices as service
from tollgate.kit import money
from tollgate.kit.errors import Conflict, NotFound, TollgateError
from tollgate.kit.ids import PaymentId
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger

ADD_LINE = """
    INSERT INTO credit_note_lines
    SELECT organization_id, credit_note_id, 2, invoice_id, type, amount, amount_exact FROM credit_note_lines
"""
REFUSED = asyncpg.exceptions.RestrictViolationError


async def invoiced(books: Books, *used: Used, **order: Any) -> tuple[Organization, Invoice]:
    """An organization and its invoice of November: ten dollars if nothing else is said."""
    organization = await books.an_organization(**order)
    await books.record(organization, *(used or [Used(at(11, 3), TEN_DOLLARS)]))
    return organization, await books.close(organization, NOVEMBER, now=AFTER)


async def balances(books: Books, organization: Organization, *accounts: str) -> list[Decimal]:
    async with books.database.read() as session:
        return [
            await ledger.balance(
                session, organization_id=organization.id, account=account, currency=organization.currency
            )
            for account in accounts
        ]


async def now_of(books: Books, invoice: Invoice) -> Heading:
    async with books.database.read() as session:
        return await service.issued(session, invoice_id=invoice.heading.id)


class TestAnUnpaidInvoice:
    async def test_is_closed_to_the_last_digit_by_the_note_that_takes_the_rest(self, books: Books) -> None:
        organization, invoice = await invoiced(
            books, Used(at(11, 3), {Kind.PROMPT: 25_012_345, Kind.COMPLETION: 7_000_003})
        )
        # 25,012,345 at 0.4 and 7,000,003 at 1.6 a million: 21.2049428 together, of which 21.20 is due
        first = await credit(books, invoice.heading, "5")
        left_due = (await now_of(books, invoice)).amount_due
        last = await credit(books, invoice.heading)
        heading = await now_of(books, invoice)

        assert [str(line.amount) for line in first.credited.lines] == ["-2.36", "-2.64"]
        assert first.credited.total_exact == Decimal(-5)
        assert left_due == Decimal("16.20")
        assert (last.credited.total, last.credited.total_exact) == (Decimal("-16.20"), Decimal("-16.2049428"))
        assert (first.number, last.number) == ("CN-2026-000001", "CN-2026-000002")
        assert (heading.status, heading.paid_at, heading.amount_credited) == (
            InvoiceStatus.PAID,
            LATER,
            Decimal("21.2"),
        )
        assert await balances(books, organization, "receivable", "revenue", "rounding") == [0, 0, 0]
        with pytest.raises(Conflict, match="left to credit"):
            await credit(books, invoice.heading)
        await assert_whole(books)

    async def test_that_is_void_is_not_credited(self, books: Books) -> None:
        _, invoice = await invoiced(books)
        await void(books, invoice.heading)

        with pytest.raises(Conflict, match="is void"):
            await credit(books, invoice.heading)

    async def test_tells_whoever_listens_of_its_note_and_that_nothing_is_due(self, books: Books) -> None:
        _, invoice = await invoiced(books)
        note = await credit(books, invoice.heading)

        told = await books.pool.fetch("SELECT type, data::text FROM events ORDER BY type")

        assert [row["type"] for row in told] == ["credit_note.issued", "invoice.finalised", "invoice.paid"]
        said = json.loads(told[0]["data"])
        assert (said["credit_note_number"], said["credited"], said["amount_due"]) == (note.number, "10.00", "0.00")


class TestAPaidInvoice:
    async def test_leaves_what_is_credited_to_be_given_back(self, books: Books) -> None:
        organization, invoice = await invoiced(books)
        await pay(books, invoice.heading)

        await credit(books, invoice.heading, "4")
        owed = await balances(books, organization, "receivable")
        part = await refund(books, invoice.heading, "1")
        whole = await refund(books, invoice.heading)

        assert owed == [Decimal(-4)]
        assert (part.status, part.balance) == (InvoiceStatus.PAID, Decimal(-3))
        assert (whole.status, whole.balance) == (InvoiceStatus.PAID, money.ZERO)
        assert await balances(books, organization, "receivable", "cash", "revenue") == [0, 6, -6]
        with pytest.raises(Conflict, match="a credit note says what is"):
            await refund(books, invoice.heading)
        await assert_whole(books)

    async def test_becomes_credit_as_far_as_it_was_paid(self, books: Books) -> None:
        organization, invoice = await invoiced(books)
        await pay(books, invoice.heading, "7")

        note = await credit(books, invoice.heading, "5", surplus=Surplus.CREDIT)

        async with books.database.read() as session:
            (grant,) = await ledger.live_grants(session, organization_id=organization.id, currency="USD", now=LATER)
            recorded = await payments.payments_of(
                session, organization_id=organization.id, invoice_id=invoice.heading.id
            )
        assert (grant.category, grant.remaining, grant.reason) == ("paid", Decimal(2), f"Credit note {note.number}")
        assert {(each.kind, each.method, each.amount) for each in recorded} == {
            (PaymentKind.PAYMENT, PaymentMethod.MANUAL, Decimal(7)),
            (PaymentKind.REFUND, PaymentMethod.CREDIT, Decimal(2)),
        }
        assert (await now_of(books, invoice)).status is InvoiceStatus.PAID
        assert await balances(books, organization, "receivable", f"credits:{grant.id}") == [0, Decimal(-2)]
        await books.record(organization, Used(LATER, {Kind.PROMPT: 2_500_000}))
        assert (await balances(books, organization, f"credits:{grant.id}", "unbilled")) == [Decimal(-1), 0]
        await assert_whole(books)


class TestIssued:
    async def test_never_change(self, books: Books) -> None:
        _, invoice = await invoiced(books)
        note = await credit(books, invoice.heading, "4")

        for change in (
            "UPDATE credit_notes SET reason = 'another'",
            "DELETE FROM credit_notes",
            "UPDATE credit_note_lines SET amount = 0",
            "DELETE FROM credit_note_lines",
            ADD_LINE,
            "UPDATE invoice_acts SET reason = 'another'",
            "TRUNCATE credit_notes CASCADE",
        ):
            if "invoice_acts" in change:
                await give_up(books, invoice.heading)
            with pytest.raises(REFUSED):
                await books.pool.execute(change)
        async with books.database.read() as session:
            found = await credit_notes.get(session, organization_id=note.organization_id, note_id=note.id)
        assert found == note

    async def test_are_another_organizations_to_nobody(self, books: Books) -> None:
        organization, invoice = await invoiced(books)
        note = await credit(books, invoice.heading, "4")
        stranger = await books.an_organization()

        async with books.database.read() as session:
            with pytest.raises(NotFound):
                await credit_notes.get(session, organization_id=stranger.id, note_id=note.id)
            for found in (
                await credit_notes.list_notes(session, organization_id=stranger.id, before=None, count=9),
                await credit_notes.notes_of(session, organization_id=stranger.id, invoice_id=invoice.heading.id),
            ):
                assert found == []
            mine = await credit_notes.list_notes(session, organization_id=organization.id, before=None, count=9)
        assert mine == [note]


async def anything_happens(books: Books, chance: Random, heading: Heading) -> None:
    """One act on the invoice, of whatever kind, if it can be done."""
    currency = heading.currency
    amount = str(money.from_minor_units(chance.randint(1, 2000), currency))
    try:
        match chance.randint(0, 7):
            case 0:
                await pay(books, heading, chance.choice([amount, None]))
            case 1:
                await refund(books, heading, chance.choice([amount, None]))
            case 2 | 3:
                await credit(books, heading, amount, surplus=chance.choice(list(Surplus)))
            case 4:
                await credit_some_lines(books, chance, heading)
            case 5:
                await give_up(books, heading)
            case 6:
                await void(books, heading)
            case 7:
                await at_stripe(books, heading, chance.choice(list(PaymentKind)), Decimal(amount))
    except TollgateError:
        return


async def credit_some_lines(books: Books, chance: Random, heading: Heading) -> CreditNote:
    lines: Sequence[LineOrder] = [LineOrder(n) for n in chance.sample([1, 2, 3], chance.randint(1, 2))]
    order = CreditOrder("wrong", lines=tuple(lines))
    async with books.database.write() as session:
        return await credit_notes.issue(session, invoice_id=heading.id, order=order, by=None, now=LATER)


async def at_stripe(books: Books, heading: Heading, kind: PaymentKind, amount: Decimal) -> Heading:
    payment = Payment(
        organization_id=heading.organization_id,
        id=PaymentId(new_id(LATER)),
        invoice_id=heading.id,
        kind=kind,
        method=PaymentMethod.STRIPE,
        amount=amount,
        currency=heading.currency,
        reference="pi_1",
        occurred_at=LATER,
        recorded_at=LATER,
        recorded_by=None,
    )
    async with books.database.write() as session:
        return await payments.record(session, payment=payment)


async def whatever_happens(books: Books, chance: Random, *, acts: int) -> None:
    """Invoices in currencies of 0, 2 and 3 decimals, partly paid by credits, and as many acts on each."""
    for currency in ("JPY", "USD", "KWD"):
        _, invoice = await invoiced(
            books,
            Used(
                at(11, 3), {Kind.PROMPT: chance.randint(1, 40_000_000), Kind.COMPLETION: chance.randint(1, 9_000_000)}
            ),
            currency=currency,
            credit=str(Decimal(chance.randint(0, 3000)).scaleb(-3)),
        )
        for _ in range(acts):
            await anything_happens(books, chance, invoice.heading)
    await assert_whole(books)


async def test_whatever_happens_the_books_stay_whole(books: Books) -> None:
    await whatever_happens(books, seeded(5), acts=6)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_for_long_the_books_stay_whole(books: Books, seed: int) -> None:
    await whatever_happens(books, seeded(seed), acts=25)
