"""Closing a month: once, in order, gapless, and only when everything has a price."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.invoices.builders import (
    AFTER,
    DECEMBER,
    MODEL,
    NOVEMBER,
    OCTOBER,
    PLAIN,
    PRICE,
    Books,
    Used,
    at,
)

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.invoices.model import Invoice, NothingToInvoice
from tollgate.invoices.schemas.invoices import InvoiceView
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, Unit


class TestClosing:
    async def test_twice_answers_the_same_invoice(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, *[Used(at(11, day)) for day in range(1, 29)])
        first = await books.close(organization, NOVEMBER, now=AFTER)
        await books.record(organization, Used(at(11, 30)), settled_at=AFTER)

        second = await books.close(organization, NOVEMBER, now=AFTER + timedelta(days=1))

        assert msgspec.json.encode(InvoiceView.of(second)) == msgspec.json.encode(InvoiceView.of(first))
        assert second == replace(first, unpriced=())

    async def test_the_same_month_from_eight_sides_makes_one_invoice(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, *[Used(at(11, day)) for day in range(1, 29)])

        invoices = await asyncio.gather(*(books.close(organization, NOVEMBER, now=AFTER) for _ in range(8)))

        assert {invoice.heading.number for invoice in invoices} == {"TG-2026-000001"}
        assert await books.balances(organization) == ("0", "0.02", "0.00296")

    async def test_eight_organizations_at_once_leaves_no_gap_in_the_numbers(self, books: Books) -> None:
        organizations = [await books.an_organization() for _ in range(10)]
        for organization in organizations[:8]:
            await books.record(organization, Used(at(11, 5)))

        outcomes = await asyncio.gather(
            *(books.close(each, NOVEMBER, now=AFTER) for each in organizations), return_exceptions=True
        )

        numbers = sorted(str(each.heading.number) for each in outcomes if isinstance(each, Invoice))
        assert numbers == [f"TG-2026-{n:06}" for n in range(1, 9)]
        assert sum(isinstance(each, NothingToInvoice) for each in outcomes) == 2

    async def test_while_calls_settle_bills_each_of_them_once(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 1)))

        async def settle() -> None:
            for minute in range(40):
                await books.record(organization, Used(at(11, 30, 23, minute)), settled_at=AFTER)

        _, november = await asyncio.gather(settle(), books.close(organization, NOVEMBER, now=AFTER))
        december = await books.current(organization, now=AFTER)

        together = november.heading.totals.total_exact + december.heading.totals.total_exact
        assert together == 41 * Decimal("0.00082")
        assert (await books.balances(organization))[0] == amount_text(december.heading.totals.total_exact)

    async def test_waits_for_a_price_and_says_for_what(self, books: Books) -> None:
        organization = await books.an_organization()
        _, call_id = await books.record(organization, Used(at(11, 5)), Used(at(11, 6), {**PLAIN, Kind.WEB_SEARCH: 2}))

        with pytest.raises(Conflict, match=f"no price: 2 web_search of {MODEL}") as refusal:
            await books.close(organization, NOVEMBER, now=AFTER)

        assert refusal.value.metadata == {
            "unpriced": [{"model": MODEL, "kind": "web_search", "quantity": 2}],
            "calls": [typed("gen", call_id)],
            "resolve": "/api/v1/admin/rerate",
        }
        drafted = await books.current(organization, now=at(11, 22))
        assert [usage.kind for usage in drafted.unpriced] == [Kind.WEB_SEARCH]

    async def test_a_month_that_has_not_begun_is_refused(self, books: Books) -> None:
        organization = await books.an_organization(timezone="America/New_York")

        with pytest.raises(Conflict, match="2026-12 has not begun in America/New_York"):
            await books.close(organization, DECEMBER, now=at(12, 1, 4, 59))

    async def test_skips_no_month_with_usage(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(10, 5)), Used(at(11, 5)))

        with pytest.raises(Conflict, match="close the earlier months first"):
            await books.close(organization, NOVEMBER, now=AFTER)

        await books.close(organization, OCTOBER, now=AFTER)
        assert (await books.close(organization, NOVEMBER, now=AFTER)).heading.number == "TG-2026-000002"

    async def test_goes_forward_only(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5)))
        await books.close(organization, NOVEMBER, now=AFTER)
        await books.record(organization, Used(at(10, 5)), settled_at=AFTER)

        with pytest.raises(Conflict, match=r"when 2026-11 was closed \(TG-2026-000001\)"):
            await books.close(organization, OCTOBER, now=AFTER)

    async def test_a_month_without_usage_makes_no_invoice(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(11, 5), insured=True))

        with pytest.raises(NothingToInvoice):
            await books.close(organization, NOVEMBER, now=AFTER)

    @pytest.mark.parametrize("insured_first", [True, False])
    async def test_leaves_insured_calls_out_though_they_share_their_quarter_hour_with_others(
        self, books: Books, *, insured_first: bool
    ) -> None:
        organization = await books.an_organization()
        by_request = replace(PRICE, items=(*PRICE.items, PriceItem(Kind.REQUEST, Decimal("0.5"), Unit.PER_COUNT)))
        counts = {**PLAIN, Kind.REQUEST: 1}
        for insured in (insured_first, not insured_first):
            await books.record(organization, Used(at(11, 5), counts, price=by_request, insured=insured))

        invoice = await books.close(organization, NOVEMBER, now=AFTER)

        assert [(line.usage.kind, line.usage.quantity) for line in invoice.lines if line.usage] == [
            (Kind.PROMPT, 800),
            (Kind.INPUT_CACHE_READ, 200),
            (Kind.COMPLETION, 300),
            (Kind.REQUEST, 1),
        ]
        assert invoice.heading.totals.total_exact == Decimal("0.50082")
        await books.assert_explains_itself(invoice)

    async def test_survives_a_change_of_the_time_zone_in_the_middle_of_a_month(self, books: Books) -> None:
        organization = await books.an_organization()
        await books.record(organization, Used(at(10, 5)))
        await books.close(organization, OCTOBER, now=at(11, 1, 2))
        await books.record(organization, Used(at(11, 1, 0)), Used(at(11, 30, 20)))
        moved = await _move(books, organization, "Asia/Tokyo")  # where November ends at 15:00 UTC

        november = await books.close(moved, NOVEMBER, now=AFTER)
        december = await books.current(moved, now=AFTER)

        assert november.heading.window.period.start == at(11, 1, 0)
        assert november.heading.window.period.end == at(11, 30, 15) == december.heading.window.period.start
        assert november.heading.totals.total_exact == december.heading.totals.total_exact == Decimal("0.00082")


async def _move(books: Books, organization: Organization, timezone: str) -> Organization:
    async with books.database.write() as session:
        return await accounts.change_organization(
            session, organization_id=organization.id, edit=lambda before: replace(before, timezone=timezone)
        )
