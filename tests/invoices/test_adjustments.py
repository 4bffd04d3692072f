"""Adjustments on invoices: a charge in full, a favour up to what would be left due, and the books whole afterwards."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import (
    AFTER,
    BORN,
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    Books,
    Used,
    an_organization,
    at,
    spent,
    usage,
)
from tests.ledger.books import assert_balanced, assert_grants_add_up

from tollgate.accounts.model import BillingMode, Organization
from tollgate.invoices.model import Adjustments, Invoice, InvoiceStatus, LineType, NothingToInvoice
from tollgate.invoices.rules import lines, windows
from tollgate.invoices.schemas.invoices import InvoiceView
from tollgate.invoices.service import invoices as service
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import AdjustmentId, typed, uuid7
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Adjustment, AdjustmentOrder, Favour, Grant

MADE = at(11, 10)
THREE_DOLLARS = {Kind.PROMPT: 7_500_000}


async def adjust(
    books: Books, organization: Organization, amount: str, reason: str = "a reason", *, now: datetime = MADE
) -> Adjustment:
    order = AdjustmentOrder(Decimal(amount), organization.currency, reason)
    async with books.database.write() as session:
        return await ledger.adjust(session, organization_id=organization.id, order=order, by=None, now=now)


async def grants(books: Books, organization: Organization) -> list[Grant]:
    async with books.database.read() as session:
        return await ledger.grants(session, organization_id=organization.id, before=None, count=9)


def told(invoice: Invoice) -> list[tuple[str, str, str]]:
    """Each line but those of usage: what it is, why, and how much."""
    return [
        (line.type.value, line.adjusted.reason if line.adjusted else "", str(line.amount))
        for line in invoice.lines
        if line.usage is None
    ]


class TestACharge:
    async def test_is_a_line_of_its_own(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        charge = await adjust(books, organization, "-1.005", "a setup fee")

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert told(invoice) == [("adjustment", "a setup fee", "1.01")]
        assert invoice.lines[-1].adjusted is not None
        assert invoice.lines[-1].adjusted.id == charge.id
        totals = invoice.heading.totals
        assert (totals.subtotal, totals.adjustments, totals.total) == (Decimal(3), Decimal("1.01"), Decimal("4.01"))
        assert (totals.adjustments_exact, totals.total_exact) == (Decimal("1.005"), Decimal("4.005"))
        assert await books.balances(organization) == ("0", "4.01", "-0.005")
        await assert_balanced(books.pool)

    async def test_alone_makes_an_invoice_of_the_month_it_was_made_in(self, books: Books) -> None:
        organization = await books.an_organization()
        await adjust(books, organization, "-5", now=at(11, 10))
        with pytest.raises(NothingToInvoice):
            await books.close(organization, OCTOBER, now=AFTER)

        closed = await books.close_due(AFTER)

        assert [(each.month, each.invoice is not None) for each in closed if each.invoice] == [(NOVEMBER, True)]
        assert [each.failure for each in closed if each.failure] == []
        assert await books.balances(organization) == ("0", "5", "0")

    async def test_is_invoiced_once_and_after_a_close_on_the_next(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        await adjust(books, organization, "-1", "before", now=at(11, 10))
        first = await books.close(organization, NOVEMBER, now=at(11, 20))
        await adjust(books, organization, "-2", "in the closed month", now=at(11, 21))
        await adjust(books, organization, "-4", "in the next", now=at(12, 3))

        second = await books.close(organization, DECEMBER, now=at(12, 20))

        assert told(first) == [("adjustment", "before", "1.00")]
        assert told(second) == [("adjustment", "in the closed month", "2.00"), ("adjustment", "in the next", "4.00")]
        assert await books.balances(organization) == ("0", "10", "0")

    async def test_made_after_the_month_is_the_next_ones(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        await adjust(books, organization, "-1", now=AFTER)

        invoice = await books.close(organization, NOVEMBER, now=AFTER + timedelta(hours=1))

        assert told(invoice) == []
        assert await books.balances(organization) == ("1", "3", "0")
        assert told(await books.current(organization, now=AFTER)) == [("adjustment", "a reason", "1.00")]

    async def test_that_credits_paid_is_among_the_credits(self, books: Books) -> None:
        organization = await books.an_organization(
            credit="5", billing_mode=BillingMode.PREPAID, credit_limit=Decimal(0)
        )
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        await adjust(books, organization, "-1.5")

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert told(invoice) == [("adjustment", "a reason", "1.50"), ("credits", "", "-4.50")]
        assert (invoice.heading.status, invoice.heading.totals.total) == (InvoiceStatus.PAID, Decimal(0))
        assert await books.balances(organization) == ("0", "0", "0")
        await assert_grants_add_up(books.pool)


async def test_every_digit_of_the_largest_amounts_is_kept(books: Books) -> None:
    organization = await books.an_organization()
    await adjust(books, organization, "999999999999999.999999999999", now=at(11, 1))
    await adjust(books, organization, "-999999999999999999.999999999999", now=at(11, 2))

    invoice = await books.close(organization, NOVEMBER, now=AFTER)

    assert [line.amount_exact for line in invoice.lines] == [
        Decimal("999999999999999999.999999999999"),
        Decimal("-999999999999999.999999999999"),
    ]
    assert await books.balances(organization) == ("0", "999000000000000000", "0")


class TestAFavour:
    async def test_pays_what_would_be_left_due(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        favour = await adjust(books, organization, "2", "an outage")

        drafted = await books.current(organization, now=at(11, 22))
        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert drafted.lines == invoice.lines
        assert told(invoice) == [("adjustment", "an outage", "-2.00")]
        assert invoice.heading.totals.total == Decimal(1)
        assert await books.balances(organization) == ("0", "1", "0")
        (grant,) = await grants(books, organization)
        assert [grant.burned, grant.remaining] == [2, 0]
        posted = await books.pool.fetchrow("SELECT * FROM transfers WHERE debit_account = $1", f"credits:{favour.id}")
        assert posted is not None
        assert (posted["credit_account"], posted["cause"], posted["cause_id"]) == (
            "unbilled",
            "invoice",
            invoice.heading.id,
        )
        await assert_balanced(books.pool)
        await assert_grants_add_up(books.pool)

    async def test_beyond_what_is_due_stays_credit(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        await adjust(books, organization, "2", "first", now=at(11, 10))
        await adjust(books, organization, "7.5", "second", now=at(11, 11))
        await adjust(books, organization, "1", "third", now=at(11, 12))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert told(invoice) == [("adjustment", "first", "-2.00"), ("adjustment", "second", "-1.00")]
        assert (invoice.heading.status, invoice.heading.totals.total) == (InvoiceStatus.PAID, Decimal(0))
        assert [each.remaining for each in await grants(books, organization)] == [1, Decimal("6.5"), 0]
        assert await books.balances(organization) == ("0", "0", "0")
        await books.record(organization, Used(at(12, 5), THREE_DOLLARS))
        assert [each.remaining for each in await grants(books, organization)] == [1, Decimal("3.5"), 0]
        await assert_grants_add_up(books.pool)

    async def test_alone_makes_no_invoice(self, books: Books) -> None:
        organization = await books.an_organization()
        await adjust(books, organization, "2")

        with pytest.raises(NothingToInvoice):
            await books.close(organization, NOVEMBER, now=AFTER)
        assert await books.close_due(AFTER) == []

    async def test_that_was_voided_pays_nothing(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        await adjust(books, organization, "2")
        (grant,) = await grants(books, organization)
        async with books.database.write() as session:
            await ledger.void_grant(
                session, grant=(organization.id, grant.id), reason="a mistake", by=None, now=at(11, 11)
            )

        assert told(await books.close(organization, NOVEMBER, now=AFTER)) == []


class TestReading:
    async def test_an_issued_invoice_says_what_was_adjusted(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
        favour = await adjust(books, organization, "2", "Ausfall am 3. — 検索")
        charge = await adjust(books, organization, "-0.5", "a setup fee", now=at(11, 11))  # paid by the favour
        issued = await books.close(organization, NOVEMBER, now=AFTER)

        async with books.database.read() as session:
            read = await service.find(session, invoice_id=issued.heading.id, now=AFTER)

        assert read == issued
        view = InvoiceView.of(read)
        assert (view.adjustments, view.adjustments_exact, view.total) == ("-1.00", "-1", "1.50")
        assert [(line.description, line.adjustment, line.amount) for line in view.lines[1:]] == [
            ("Adjustment: a setup fee", typed("adj", charge.id), "0.50"),
            ("Adjustment: Ausfall am 3. — 検索", typed("adj", favour.id), "-1.50"),
            ("Credits applied", None, "-0.50"),
        ]

    async def test_its_line_has_no_calls(self, books: Books) -> None:
        organization = await books.an_organization()
        await adjust(books, organization, "-1")
        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        with pytest.raises(InvalidRequest, match="behind the lines of usage"):
            await books.explained(invoice, 1)

    async def test_one_without_adjustments_says_nothing_of_them(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert "adjustment" not in (invoice.document or "adjustment")


AMOUNTS = st.lists(st.decimals(min_value="0.000001", max_value=100, places=6), max_size=4)


@given(used=AMOUNTS, charges=AMOUNTS, favours=AMOUNTS, share=st.fractions(min_value=0, max_value=1))
def test_no_favour_makes_an_invoice_negative_and_none_pays_more_than_it_has(
    used: list[Decimal], charges: list[Decimal], favours: list[Decimal], share: float
) -> None:
    """Credits paid for some of the usage; whatever is left of that and the charges, favours pay as far as they go."""
    credited = (sum(used, Decimal(0)) * Decimal(int(share * 1000)) / 1000).quantize(Decimal("0.000001"), "ROUND_DOWN")
    organization = an_organization()
    invoice = lines.draft(
        organization,
        NOVEMBER,
        windows.window(organization, NOVEMBER, last=None, cut=0),
        [*(usage(str(amount)) for amount in used), spent(str(credited))],
        Adjustments(
            charges=[_an_adjustment(-amount) for amount in charges],
            favours=[Favour(_an_adjustment(amount + 1), amount) for amount in favours],
        ),
    )

    totals = invoice.heading.totals
    due = sum(used, Decimal(0)) + sum(charges, Decimal(0)) - credited
    assert totals.total_exact == max(due - sum(favours, Decimal(0)), Decimal(0))
    assert totals.total >= 0
    assert totals.total == sum(line.amount for line in invoice.lines)
    given_up = [-line.amount_exact for line in invoice.lines if line.adjusted and line.amount_exact < 0]
    assert all(0 < part <= favour for part, favour in zip(given_up, favours, strict=False))
    assert totals.adjustments_exact == sum(
        (line.amount_exact for line in invoice.lines if line.type is LineType.ADJUSTMENT), Decimal(0)
    )


def _an_adjustment(amount: Decimal) -> Adjustment:
    organization = an_organization()
    return Adjustment(
        organization_id=organization.id,
        id=AdjustmentId(uuid7(BORN, 7)),
        amount=amount,
        currency=organization.currency,
        reason="a reason",
        credits_amount=Decimal(0),
        invoice_cut=0,
        created_at=BORN,
        created_by=None,
    )
