"""Invoices that are voided and closed again, and such as are given up, on a real database."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.invoices.acting import LATER, TEN_DOLLARS, assert_whole, credit, give_up, pay, refund, void
from tests.invoices.builders import AFTER, DECEMBER, NOVEMBER, OCTOBER, Books, Used, at

from tollgate.accounts.model import Organization
from tollgate.invoices.model import Invoice, InvoiceStatus
from tollgate.invoices.service import invoices as service
from tollgate.kit import money
from tollgate.kit.errors import Conflict
from tollgate.kit.money import amount_text
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Adjustment, AdjustmentOrder


async def adjust(books: Books, organization: Organization, amount: str) -> Adjustment:
    order = AdjustmentOrder(Decimal(amount), "USD", "a wish")
    async with books.database.write() as session:
        return await ledger.adjust(session, organization_id=organization.id, order=order, by=None, now=at(11, 20))


async def found(books: Books, organization: Organization, invoice: Invoice) -> Invoice:
    async with books.database.read() as session:
        return await service.get(session, organization_id=organization.id, invoice_id=invoice.heading.id, now=LATER)


async def receivable_and_lost(books: Books, organization: Organization) -> tuple[str, str]:
    async with books.database.read() as session:
        owed, lost = [
            await ledger.balance(session, organization_id=organization.id, account=account, currency="USD")
            for account in ("receivable", "uncollectible")
        ]
    return amount_text(owed), amount_text(lost)


async def invoiced(books: Books) -> tuple[Organization, Invoice]:
    """An organization that used ten dollars' worth in October and in November, both invoiced, November last."""
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 3), TEN_DOLLARS), Used(at(11, 3), TEN_DOLLARS))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    return organization, await books.close(organization, NOVEMBER, now=AFTER)


class TestVoiding:
    async def test_opens_the_month_again_and_closing_it_makes_another_invoice(self, books: Books) -> None:
        organization, first = await invoiced(books)
        await books.record(organization, Used(at(11, 4), TEN_DOLLARS), Used(at(12, 1, 1), TEN_DOLLARS))

        voided = await void(books, first.heading)
        balances = await books.balances(organization)
        drafted = await books.current(organization, now=at(11, 30))
        second = await books.close(organization, NOVEMBER, now=LATER)

        assert (voided.status, voided.amount_due) == (InvoiceStatus.VOID, money.ZERO)
        assert balances == ("30", "10", "0")  # October is still to be paid
        assert drafted.heading.id == second.heading.id != first.heading.id
        assert (first.heading.number, second.heading.number) == ("TG-2026-000002", "TG-2026-000003")
        assert second.heading.totals.total == Decimal(20)
        assert await books.close(organization, NOVEMBER, now=LATER) == second
        assert (await found(books, organization, first)).document == first.document
        await books.assert_explains_itself(first)
        await books.assert_explains_itself(second)
        december = await books.current(organization, now=LATER)
        assert (december.heading.month, december.heading.totals.total) == (DECEMBER, Decimal(10))
        await assert_whole(books)

    async def test_may_be_done_again_and_again(self, books: Books) -> None:
        organization, first = await invoiced(books)
        await void(books, first.heading)
        second = await books.close(organization, NOVEMBER, now=LATER)
        assert await void(books, first.heading) == replace(first.heading, status=InvoiceStatus.VOID)
        await void(books, second.heading)

        third = await books.close(organization, NOVEMBER, now=LATER)

        async with books.database.read() as session:
            listed = await service.list_invoices(session, organization_id=organization.id, before=None, count=2)
            rest = await service.list_invoices(session, organization_id=organization.id, before=listed[-1].id, count=9)
        assert [each.number for each in (*listed, *rest)] == [f"TG-2026-00000{serial}" for serial in (4, 3, 2, 1)]
        assert (third.lines, third.heading.totals) == (first.lines, first.heading.totals)

    async def test_leaves_a_void_one_as_it_is_when_it_is_finalised_again(self, books: Books) -> None:
        _, first = await invoiced(books)
        await void(books, first.heading)

        async with books.database.write() as session:
            again = await service.finalise(session, invoice_id=first.heading.id, now=LATER)

        assert again.heading.status is InvoiceStatus.VOID

    async def test_begins_the_grace_anew(self, books: Books) -> None:
        organization, first = await invoiced(books)
        await void(books, first.heading)

        async with books.database.read() as session:
            due = [
                await service.due_months(session, organizations=[organization], now=now, grace=timedelta(hours=2))
                for now in (LATER + timedelta(hours=1), LATER + timedelta(hours=2))
            ]

        assert due == [[], [(organization, [NOVEMBER])]]

    async def test_gives_favours_back_what_they_paid_and_charges_again_what_was_charged(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 3), TEN_DOLLARS))
        await adjust(books, organization, "-2")
        await adjust(books, organization, "3")
        first = await books.close(organization, NOVEMBER, now=AFTER)

        await void(books, first.heading)
        async with books.database.read() as session:
            (favour,) = await ledger.favours(session, organization_id=organization.id, currency="USD")
        second = await books.close(organization, NOVEMBER, now=LATER)

        assert favour.remaining == Decimal(3)
        assert second.lines == first.lines
        assert second.heading.totals.total == Decimal(9)
        assert await books.balances(organization) == ("0", "9", "0")
        await assert_whole(books)

    async def test_is_refused_once_something_of_it_is_paid_credited_or_given_up(self, books: Books) -> None:
        organization, first = await invoiced(books)
        await pay(books, first.heading, "1")
        with pytest.raises(Conflict, match="paid in part, so it cannot be voided"):
            await void(books, first.heading)
        await pay(books, first.heading)
        with pytest.raises(Conflict, match="is paid, so"):
            await void(books, first.heading)

        await books.record(organization, Used(at(12, 3), TEN_DOLLARS))
        another = await books.close(organization, DECEMBER, now=at(12, 31))
        await credit(books, another.heading, "1")
        with pytest.raises(Conflict, match="credited in part"):
            await void(books, another.heading)
        await give_up(books, another.heading)
        with pytest.raises(Conflict, match="is uncollectible"):
            await void(books, another.heading)

    async def test_of_what_credits_paid_says_what_to_do_instead(self, books: Books) -> None:
        organization = await books.an_organization(credit="50")
        await books.record(organization, Used(at(11, 3), TEN_DOLLARS))
        paid = await books.close(organization, NOVEMBER, now=AFTER)

        with pytest.raises(Conflict, match=r"Nothing was due on TG-2026-000001, .*by an adjustment"):
            await void(books, paid.heading)

    async def test_is_refused_for_all_but_the_newest(self, books: Books) -> None:
        organization, newest = await invoiced(books)
        async with books.database.read() as session:
            _, older = await service.list_invoices(session, organization_id=organization.id, before=None, count=2)

        with pytest.raises(Conflict, match=f"{newest.heading.number} is"):
            await void(books, older)

        await void(books, newest.heading)
        await void(books, older)
        assert (await books.close(organization, OCTOBER, now=LATER)).heading.totals.total == Decimal(10)
        assert (await books.close(organization, NOVEMBER, now=LATER)).heading.totals.total == Decimal(10)

    async def test_is_told_with_its_reason(self, books: Books) -> None:
        _, first = await invoiced(books)
        await void(books, first.heading)

        (told,) = await books.pool.fetch("SELECT data::text, occurred_at FROM events WHERE type = 'invoice.voided'")
        (act,) = await books.pool.fetch("SELECT kind, reason, acted_at FROM invoice_acts")

        assert '"reason": "wrong"' in told["data"]
        assert tuple(act) == ("void", "wrong", LATER)
        assert told["occurred_at"] == LATER


class TestGivingUp:
    async def test_writes_off_what_is_due_and_paying_brings_it_back(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 3), TEN_DOLLARS))
        first = await books.close(organization, NOVEMBER, now=AFTER)
        await pay(books, first.heading, "1")

        given_up = await give_up(books, first.heading)
        assert await give_up(books, first.heading) == given_up
        lost = await receivable_and_lost(books, organization)
        part = await pay(books, first.heading, "2")
        less = await receivable_and_lost(books, organization)
        whole = await pay(books, first.heading)

        assert (given_up.status, given_up.amount_due, lost) == (InvoiceStatus.UNCOLLECTIBLE, Decimal(9), ("0", "9"))
        assert (part.status, part.amount_due, less) == (InvoiceStatus.UNCOLLECTIBLE, Decimal(7), ("0", "7"))
        assert (whole.status, await receivable_and_lost(books, organization)) == (InvoiceStatus.PAID, ("0", "0"))
        with pytest.raises(Conflict, match="Nothing is due"):
            await give_up(books, first.heading)
        await assert_whole(books)

    async def test_is_undone_by_a_credit_note(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 3), TEN_DOLLARS))
        first = await books.close(organization, NOVEMBER, now=AFTER)
        await give_up(books, first.heading)

        await credit(books, first.heading, "10")

        assert await receivable_and_lost(books, organization) == ("0", "0")
        assert (await found(books, organization, first)).heading.status is InvoiceStatus.PAID

    async def test_gives_back_nothing_that_no_credit_note_left(self, books: Books) -> None:
        _, first = await invoiced(books)
        await pay(books, first.heading)

        with pytest.raises(Conflict, match="a credit note says what is"):
            await refund(books, first.heading)
