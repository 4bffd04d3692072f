"""Closing months under agreements: once each, in order, with the books whole, and what changes in the middle of one."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.agreements.builders import ACME, an_order
from tests.conftest import a_copy
from tests.invoices.builders import AFTER, DECEMBER, NOVEMBER, OCTOBER, Books, Used, at
from tests.ledger.books import assert_balanced

from tollgate.accounts import service as accounts
from tollgate.accounts.model import BillingMode, Organization
from tollgate.agreements import service as agreements
from tollgate.agreements.model import (
    Agreement,
    AgreementKind,
    AgreementOrder,
    BillingDetails,
    TaxTerms,
    TaxTreatment,
)
from tollgate.entrypoints import doctor
from tollgate.infra import database as databases
from tollgate.invoices.model import Invoice, InvoiceStatus, Month
from tollgate.invoices.rules import document
from tollgate.invoices.schemas.invoices import InvoiceView
from tollgate.invoices.service import invoices as service
from tollgate.kit.errors import Conflict
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import TAX

THREE_DOLLARS = {Kind.PROMPT: 7_500_000}
VAT = replace(ACME, tax=TaxTerms(TaxTreatment.EXCLUSIVE, Decimal(19)), term_days=30)


@pytest.fixture(scope="module")
async def books(server_url: str, template: str) -> AsyncIterator[Books]:
    """Books that all tests here keep, each for organizations of its own."""
    async with a_copy(server_url, template, f"{template}_agreed") as url:
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=4)
        yield Books(database, pool)
        await pool.close()
        await database.close()


async def agree(
    books: Books, organization: Organization, kind: AgreementKind = AgreementKind.SUBSCRIPTION, **order: Any
) -> Agreement:
    given: AgreementOrder = an_order(kind, **order)
    async with books.database.write() as session:
        return await agreements.agree(session, organization_id=organization.id, order=given, by=None, now=at(11, 1))


async def bill(books: Books, organization: Organization, details: BillingDetails) -> None:
    async with books.database.write() as session:
        await agreements.change_billing(
            session, organization_id=organization.id, edit=lambda _: details, by=None, now=at(11, 1)
        )


async def change(
    books: Books, organization: Organization, edit: Callable[[Organization], Organization]
) -> Organization:
    async with books.database.write() as session:
        return await accounts.change_organization(session, organization_id=organization.id, edit=edit)


async def draft(books: Books, organization: Organization, month: Month) -> Invoice:
    async with books.database.read() as session:
        return await service.draft(session, organization=organization, month=month)


async def close_due(books: Books, organization: Organization, now: datetime) -> list[tuple[Month, str]]:
    """The organization's months that were closed, with what is due for them."""
    closed = await books.close_due(now)
    assert [each.failure for each in closed if each.failure] == []
    return [
        (each.month, str(each.invoice.totals.total))
        for each in closed
        if each.invoice is not None and each.organization.id == organization.id
    ]


def told(invoice: Invoice) -> list[tuple[str, str]]:
    """Each line but those of usage: what it says, and how much."""
    return [(document.description(line), str(line.amount)) for line in invoice.lines if line.usage is None]


async def assert_whole(books: Books) -> None:
    await assert_balanced(books.pool)
    async with books.database.read() as session:
        report = await doctor.examine_snapshot(session)
    assert set(report.complaints) <= {"attempts", "partitions"}  # which the calls recorded here leave out


async def test_a_draft_shows_what_closing_then_issues(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5), THREE_DOLLARS))
    plan = await agree(books, organization, starts_on=date(2026, 11, 16))
    await agree(books, organization, AgreementKind.COMMITMENT, amount=Decimal(10))
    await agree(books, organization, AgreementKind.DISCOUNT)
    await bill(books, organization, VAT)

    drafted = InvoiceView.of(await books.current(organization, now=at(11, 22)))
    invoice = await books.close(organization, NOVEMBER, now=AFTER)

    assert told(invoice) == [
        ("Platform, 2026-11-16 to 2026-11-30, 15 of 30 days", "15.00"),
        ("Minimum commitment of 10 USD, 2026-11", "7.00"),
        ("Discount of 10 %", "-0.30"),
        ("VAT 19 %", "4.69"),  # of 24.70: 4.693
    ]
    issued = InvoiceView.of(invoice)
    assert (drafted.lines, drafted.tax, drafted.total, drafted.customer) == (
        issued.lines, issued.tax, "29.39", issued.customer)  # fmt: skip
    assert invoice.heading.due_at == AFTER + timedelta(days=30)
    assert invoice.lines[1].agreed is not None
    assert invoice.lines[1].agreed.agreement_id == plan.id
    assert await books.balances(organization) == ("0", "29.39", "0")
    async with books.database.read() as session:
        taxed = await ledger.balance(session, organization_id=organization.id, account=TAX, currency="USD")
        assert taxed == Decimal("-4.69")
        assert await service.get(
            session, organization_id=organization.id, invoice_id=invoice.heading.id, now=AFTER) == invoice  # fmt: skip
    await assert_whole(books)


class TestAMonthWithoutUsage:
    async def test_is_due_for_a_fee_and_for_a_minimum(self, books: Books) -> None:
        paying = await books.an_organization()
        await agree(books, paying, AgreementKind.COMMITMENT, starts_on=date(2026, 11, 1), ends_on=date(2026, 12, 1))
        await agree(books, paying, starts_on=date(2026, 10, 1), ends_on=date(2026, 11, 1))
        discounted = await books.an_organization()
        await agree(books, discounted, AgreementKind.DISCOUNT)

        assert await close_due(books, paying, AFTER) == [(OCTOBER, "30.00"), (NOVEMBER, "100.00")]
        assert await close_due(books, paying, AFTER) == []
        assert await close_due(books, discounted, AFTER) == []
        assert await books.balances(paying) == ("0", "130", "0")
        await assert_whole(books)

    async def test_closes_before_later_ones(self, books: Books) -> None:
        organization = await books.an_organization()
        await agree(books, organization, starts_on=date(2026, 10, 1))
        await books.record(organization, Used(at(11, 5), THREE_DOLLARS))

        with pytest.raises(Conflict, match="a fee or a minimum before 2026-11"):
            await books.close(organization, NOVEMBER, now=AFTER)
        drafted = await draft(books, organization, NOVEMBER)
        await books.close(organization, OCTOBER, now=AFTER)
        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert invoice.lines == drafted.lines
        assert told(invoice) == [("Platform, 2026-11", "30.00")]

    async def test_whose_fee_rounds_to_nothing_keeps_no_later_one_waiting(self, books: Books) -> None:
        organization = await books.an_organization()
        await agree(books, organization, amount=Decimal("0.01"), starts_on=date(2026, 10, 31))

        assert await close_due(books, organization, AFTER) == [(NOVEMBER, "0.01")]


async def test_a_fee_that_is_agreed_after_its_month_was_closed_comes_late_and_once(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5), THREE_DOLLARS))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    async with books.database.write() as session:
        order = an_order(starts_on=date(2026, 10, 17), ends_on=date(2026, 11, 1))
        await agreements.agree(session, organization_id=organization.id, order=order, by=None, now=at(11, 3))

    assert await close_due(books, organization, AFTER) == [(NOVEMBER, "14.52")]  # 15 of 31 days
    assert await close_due(books, organization, at(1, 1).replace(year=2027)) == []
    await assert_whole(books)


async def test_late_usage_of_a_month_makes_up_for_its_commitment_once(books: Books) -> None:
    organization = await books.an_organization()
    await agree(
        books, organization, AgreementKind.COMMITMENT,
        starts_on=date(2026, 10, 1), ends_on=date(2026, 11, 1), amount=Decimal(5))  # fmt: skip
    first = await books.close(organization, OCTOBER, now=at(11, 1, 2))
    await books.record(organization, Used(at(10, 5), THREE_DOLLARS), settled_at=at(11, 2))
    second = await books.close(organization, NOVEMBER, now=AFTER)
    await books.record(organization, Used(at(10, 6), THREE_DOLLARS), settled_at=at(12, 2))
    third = await books.close(organization, DECEMBER, now=at(12, 20))

    assert told(first) == [("Minimum commitment of 5 USD, 2026-10", "5.00")]
    assert told(second) == [("Minimum commitment of 2026-10, made up for by late usage", "-3.00")]
    assert (second.heading.status, second.heading.totals.total) == (InvoiceStatus.PAID, Decimal(0))
    assert told(third) == [("Minimum commitment of 2026-10, made up for by late usage", "-2.00")]
    assert third.heading.totals.total == 1
    assert await books.balances(organization) == ("0", "6", "0")  # what October used, and no more
    await assert_whole(books)


class TestInTheMiddleOfAMonth:
    async def test_another_time_zone_moves_instants_and_no_days_that_are_paid_for(self, books: Books) -> None:
        organization = await books.an_organization(timezone="America/New_York")
        await agree(books, organization, starts_on=date(2026, 10, 1))
        await close_due(books, organization, at(11, 1, 12))
        moved = await change(books, organization, lambda each: replace(each, timezone="Asia/Tokyo"))
        invoice = await books.close(moved, NOVEMBER, now=AFTER)

        assert told(invoice) == [("Platform, 2026-11", "30.00")]
        period = invoice.heading.window.period
        assert (period.start, period.end) == (at(11, 1, 4), at(11, 30, 15))  # from where October ended in New York
        await assert_whole(books)

    @pytest.mark.parametrize("other", [{"currency": "EUR"}, {"billing_mode": BillingMode.PREPAID}])
    async def test_another_currency_or_billing_mode_is_refused(self, books: Books, other: dict[str, Any]) -> None:
        organization = await books.an_organization()
        await agree(books, organization)

        with pytest.raises(Conflict):
            await change(books, organization, lambda each: replace(each, **other))

    async def test_another_tax_is_on_what_is_issued_from_then_on(self, books: Books) -> None:
        organization = await books.an_organization()
        await agree(books, organization, starts_on=date(2026, 10, 1))
        await bill(books, organization, VAT)
        first = await books.close(organization, OCTOBER, now=at(11, 15))
        await bill(books, organization, replace(VAT, tax=TaxTerms(TaxTreatment.REVERSE_CHARGE), legal_name="New Acme"))
        second = await books.close(organization, NOVEMBER, now=AFTER)

        assert [str(each.heading.tax.amount) for each in (first, second)] == ["5.70", "0.00"]
        async with books.database.read() as session:
            read = await service.find(session, invoice_id=first.heading.id, now=AFTER)
        assert InvoiceView.of(read) == InvoiceView.of(first)
        assert "New Acme" not in str(read.document)
        await assert_whole(books)

    async def test_another_plan_costs_each_day_once(self, books: Books) -> None:
        organization = await books.an_organization()
        plan = await agree(books, organization, amount=Decimal("9.99"))
        async with books.database.write() as session:
            which = (organization.id, AgreementKind.SUBSCRIPTION, plan.id)
            await agreements.end(session, agreement=which, ends_on=date(2026, 11, 8), by=None, now=at(11, 7))
        await agree(books, organization, starts_on=date(2026, 11, 8), amount=Decimal("9.99"))
        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert [amount for _, amount in told(invoice)] == ["2.33", "7.66"]  # together the fee
