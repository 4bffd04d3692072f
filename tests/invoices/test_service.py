"""Months that are looked at, closed and explained, on a real database."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from tests.invoices.builders import (
    AFTER,
    DECEMBER,
    MODEL,
    NOVEMBER,
    OCTOBER,
    PRICE,
    SEPTEMBER,
    Books,
    Used,
    at,
)
from tests.pricing.builders import a_price, per_million, tiers

from tollgate.accounts import service as accounts
from tollgate.accounts.model import BillingMode
from tollgate.invoices.model import InvoiceStatus
from tollgate.invoices.schemas.invoices import InvoiceView
from tollgate.invoices.service import invoices as service
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import InvoiceId, PriceVersionId
from tollgate.kit.tokens import Kind


class TestAPostpaidMonth:
    async def test_becomes_one_receivable(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, *[Used(at(11, day)) for day in range(1, 29)])

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        # 28 calls: 22,400 prompt at 0.4, 5,600 cached at 0.1 and 8,400 completion tokens at 1.6 per million
        assert [(line.usage.kind, line.usage.quantity, line.amount_exact) for line in invoice.lines if line.usage] == [
            (Kind.PROMPT, 22_400, Decimal("0.00896")),
            (Kind.INPUT_CACHE_READ, 5_600, Decimal("0.00056")),
            (Kind.COMPLETION, 8_400, Decimal("0.01344")),
        ]
        heading = invoice.heading
        assert heading.totals.total_exact == 28 * Decimal("0.00082") == Decimal("0.02296")
        assert heading.totals.total == Decimal("0.02")
        assert (heading.number, heading.status) == ("TG-2026-000001", InvoiceStatus.FINALISED)
        assert (heading.issued_at, heading.due_at) == (AFTER, AFTER + timedelta(days=14))
        assert await books.balances(organization) == ("0", "0.02", "0.00296")
        await books.assert_explains_itself(invoice)

    async def test_rounds_up_at_the_cost_of_rounding(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 3), {Kind.COMPLETION: 5_000}))  # 0.008

        await books.close(organization, NOVEMBER, now=AFTER)

        assert await books.balances(organization) == ("0", "0.01", "-0.002")

    async def test_without_a_minor_unit_due_is_paid_at_once(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 3)))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert (invoice.heading.status, invoice.heading.due_at) == (InvoiceStatus.PAID, None)
        assert await books.balances(organization) == ("0", "0", "0.00082")

    async def test_is_split_by_project_model_price_and_tier(self, books: Books) -> None:
        organization = await books.an_organization()
        search = await books.a_project(organization, "Search")
        tiered = replace(a_price(*tiers(Kind.PROMPT, "3", "6")), id=PriceVersionId(UUID(int=3)))
        newer = replace(PRICE, id=PriceVersionId(UUID(int=4)), items=(per_million(Kind.PROMPT, "0.5"),))
        prompt = {Kind.PROMPT: 1_000}
        await books.record(
            organization,
            Used(at(11, 1), prompt),
            Used(at(11, 2), prompt, project_id=search),
            Used(at(11, 3), prompt, price=newer),
            Used(at(11, 4), prompt, model="google/tiered", price=tiered),
            Used(at(11, 5), {Kind.PROMPT: 200_000}, model="google/tiered", price=tiered),
        )

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert [
            (line.usage.project_name, line.usage.model, line.usage.tier, line.usage.unit_price, line.amount_exact)
            for line in invoice.lines
            if line.usage
        ] == [
            ("Search", MODEL, 0, Decimal("0.4"), Decimal("0.0004")),
            (None, "google/tiered", 0, Decimal(3), Decimal("0.003")),
            (None, "google/tiered", 200_000, Decimal(6), Decimal("1.2")),
            (None, MODEL, 0, Decimal("0.4"), Decimal("0.0004")),
            (None, MODEL, 0, Decimal("0.5"), Decimal("0.0005")),
        ]
        await books.assert_explains_itself(invoice)

    async def test_is_cut_in_the_organizations_own_time_zone(self, books: Books) -> None:
        organization = await books.an_organization(timezone="Asia/Kathmandu")  # November ends at 18:15 UTC
        await books.record(organization, Used(at(11, 30, 18, 14)), Used(at(11, 30, 18, 15)))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert invoice.heading.totals.total_exact == Decimal("0.00082")
        assert (await books.current(organization, now=AFTER)).heading.totals.total_exact == Decimal("0.00082")


class TestAPrepaidMonth:
    async def test_is_paid_by_its_credits(self, books: Books) -> None:
        organization = await books.an_organization(
            credit="5", billing_mode=BillingMode.PREPAID, credit_limit=Decimal(0)
        )
        await books.record(organization, *[Used(at(11, day)) for day in range(1, 29)])

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        heading = invoice.heading
        assert invoice.lines[-1].amount_exact == heading.totals.credits_exact == Decimal("-0.02296")
        assert heading.totals.total_exact == heading.totals.total == heading.amount_due == 0
        assert (heading.status, heading.issued_at, heading.due_at) == (InvoiceStatus.PAID, AFTER, None)
        assert sum(line.amount for line in invoice.lines) == 0
        assert await books.balances(organization) == ("0", "0", "0")
        await books.assert_explains_itself(invoice)

    async def test_owes_what_its_credits_did_not_carry(self, books: Books) -> None:
        organization = await books.an_organization(credit="1", billing_mode=BillingMode.PREPAID)
        await books.record(organization, Used(at(11, 3), {Kind.PROMPT: 10_000_000}))  # 4 dollars

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert [str(line.amount) for line in invoice.lines] == ["4.00", "-1.00"]
        assert invoice.heading.status == InvoiceStatus.FINALISED
        assert await books.balances(organization) == ("0", "3", "0")

    async def test_explains_no_calls_behind_its_credits(self, books: Books) -> None:
        organization = await books.an_organization(credit="1")
        await books.record(organization, Used(at(11, 3)))
        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        with pytest.raises(InvalidRequest, match="behind the lines of usage"):
            await books.explained(invoice, len(invoice.lines))


class TestLateUsage:
    async def test_goes_on_the_next_invoice_with_its_origin(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(9, 5)), Used(at(10, 5)))
        await books.close(organization, SEPTEMBER, now=at(10, 10))
        first = await books.close(organization, OCTOBER, now=at(11, 1, 2))
        late = Used(at(10, 31, 23), {Kind.PROMPT: 2_000})
        later = Used(at(9, 30, 23), {Kind.PROMPT: 3_000})
        await books.record(organization, late, later, Used(at(11, 5)), settled_at=at(11, 6))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert [(line.usage.origin, line.usage.kind, line.usage.quantity) for line in invoice.lines if line.usage] == [
            (None, Kind.PROMPT, 800),
            (None, Kind.INPUT_CACHE_READ, 200),
            (None, Kind.COMPLETION, 300),
            (SEPTEMBER, Kind.PROMPT, 3_000),
            (OCTOBER, Kind.PROMPT, 2_000),
        ]
        assert first.heading.totals.total_exact == Decimal("0.00082")
        assert invoice.heading.totals.total_exact == Decimal("0.00282")
        assert (await books.balances(organization))[0] == "0"
        await books.assert_explains_itself(first)
        await books.assert_explains_itself(invoice)

    async def test_of_a_month_that_was_closed_while_it_ran_is_on_the_next_draft(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        await books.close(organization, NOVEMBER, now=at(11, 20))
        await books.record(organization, Used(at(11, 21)))

        drafted = await books.current(organization, now=at(11, 22))

        assert drafted.heading.month == DECEMBER
        assert {line.usage.origin for line in drafted.lines if line.usage} == {NOVEMBER}
        await books.assert_explains_itself(drafted)

    async def test_alone_makes_an_invoice(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(10, 5)))
        await books.close(organization, OCTOBER, now=at(11, 1, 2))
        await books.record(organization, Used(at(10, 31)), settled_at=at(11, 2))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert {line.usage.origin for line in invoice.lines if line.usage} == {OCTOBER}


class TestADraft:
    async def test_can_be_looked_at_while_the_month_runs_and_changes_nothing(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        first = await books.current(organization, now=at(11, 22))
        await books.record(organization, Used(at(11, 22)))

        second = await books.current(organization, now=at(11, 23))

        assert first.heading.totals.total_exact * 2 == second.heading.totals.total_exact == Decimal("0.00164")
        assert (second.heading.status, second.heading.number, second.document) == (InvoiceStatus.DRAFT, None, None)
        assert await books.balances(organization) == ("0.00164", "0", "0")
        await books.assert_explains_itself(second)

    async def test_keeps_its_id_when_it_is_finalised(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        drafted = await books.current(organization, now=at(11, 22))

        async with books.database.write() as session:
            invoice = await service.finalise(session, invoice_id=drafted.heading.id, now=AFTER)

        assert invoice.heading.id == drafted.heading.id
        assert [replace(line, amount=Decimal(0)) for line in invoice.lines] == [
            replace(line, amount=Decimal(0)) for line in drafted.lines
        ]

    async def test_of_a_month_without_usage_is_empty(self, books: Books) -> None:
        drafted = await books.current(await books.an_organization(), now=at(11, 22))

        assert drafted.lines == ()
        assert drafted.heading.totals.total == 0

    async def test_shows_what_an_earlier_open_month_will_not_take(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(10, 5)), Used(at(11, 5)))

        drafted = await books.current(organization, now=at(11, 22))

        assert drafted.heading.totals.total_exact == Decimal("0.00082")
        assert all(line.usage.origin is None for line in drafted.lines if line.usage)

    async def test_equals_the_invoice_that_is_closed_from_it(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, *[Used(at(11, day)) for day in range(1, 10)])
        drafted = await books.current(organization, now=AFTER - timedelta(days=2))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert invoice.lines == drafted.lines
        assert invoice.heading.totals == drafted.heading.totals


class TestReading:
    async def test_an_issued_invoice_is_what_was_issued(self, books: Books) -> None:
        organization = await books.an_organization(credit="0.0001")
        search = await books.a_project(organization, "検索 & Ørsted")
        await books.record(organization, Used(at(11, 5), project_id=search))
        issued = await books.close(organization, NOVEMBER, now=AFTER)

        async with books.database.read() as session:
            read = await service.find(session, invoice_id=issued.heading.id, now=AFTER)

        assert read == issued
        said = json.loads(str(read.document))
        shown = json.loads(msgspec.json.encode(InvoiceView.of(read)))
        assert {name: shown[name] for name in said} == said
        assert shown["lines"][0]["project"]["name"] == "検索 & Ørsted"

    async def test_keeps_the_words_of_its_day(self, books: Books) -> None:
        organization = await books.an_organization()
        search = await books.a_project(organization, "Search")
        await books.record(organization, Used(at(11, 5), project_id=search))
        issued = await books.close(organization, NOVEMBER, now=AFTER)

        async with books.database.write() as session:
            await accounts.change_project(
                session,
                organization_id=organization.id,
                project_id=search,
                edit=lambda project: replace(project, name="Something else"),
            )
            read = await service.find(session, invoice_id=issued.heading.id, now=AFTER)

        assert InvoiceView.of(read) == InvoiceView.of(issued)

    async def test_lists_newest_first_page_by_page(self, books: Books) -> None:
        organization = await books.an_organization()
        for month, day in [(SEPTEMBER, at(9, 5)), (OCTOBER, at(10, 5)), (NOVEMBER, at(11, 5))]:
            await books.record(organization, Used(day))
            await books.close(organization, month, now=day)

        async with books.database.read() as session:
            first = await service.list_invoices(session, organization_id=organization.id, before=None, count=2)
            rest = await service.list_invoices(session, organization_id=organization.id, before=first[-1].id, count=2)

        assert [heading.month for heading in [*first, *rest]] == [NOVEMBER, OCTOBER, SEPTEMBER]

    async def test_of_an_unknown_id_finds_nothing(self, books: Books) -> None:
        await books.an_organization()
        for number in (0, 1, (1 << 128) - 1):
            async with books.database.read() as session:
                with pytest.raises(NotFound):
                    await service.find(session, invoice_id=InvoiceId(UUID(int=number)), now=AFTER)

    async def test_another_organizations_invoice_finds_nothing(self, books: Books) -> None:
        organization, other = await books.an_organization(), await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        drafted = await books.current(organization, now=at(11, 22))
        issued = await books.close(organization, NOVEMBER, now=AFTER)

        for heading in (drafted.heading, issued.heading):
            async with books.database.read() as session:
                with pytest.raises(NotFound):
                    await service.get(session, organization_id=other.id, invoice_id=heading.id, now=AFTER)

    async def test_a_line_that_is_not_there_finds_nothing(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        drafted = await books.current(organization, now=at(11, 22))

        for n in (0, -1, 4):
            with pytest.raises(NotFound, match="no such line"):
                await books.explained(drafted, n)
