"""The lines of an invoice and its one rounding: worked numbers, and laws that hold for every invoice."""

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import NOVEMBER, OCTOBER, an_organization, spent, usage

from tollgate.invoices.model import Invoice, LineType, Usage
from tollgate.invoices.rules import lines, windows
from tollgate.kit import money
from tollgate.kit.ids import ProjectId
from tollgate.kit.tokens import Kind

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
"""With 0, 2 and 3 decimals."""
AMOUNTS = st.decimals(min_value=-(10**9), max_value=10**9, places=12)
ABOVE_ZERO = st.decimals(min_value=0, max_value=10**6, places=6)


def draft(*usages: Usage, currency: str = "USD") -> Invoice:
    organization = an_organization(currency=currency)
    window = windows.window(organization, NOVEMBER, last=None, cut=0)
    return lines.draft(organization, NOVEMBER, window, usages)


def rounded(invoice: Invoice) -> list[str]:
    return [str(line.amount) for line in invoice.lines]


class TestApportion:
    @pytest.mark.parametrize(
        ("amounts", "currency", "parts"),
        [
            ([], "USD", []),
            (["0.005"], "USD", ["0.01"]),  # half away from zero
            (["-0.005"], "USD", ["-0.01"]),
            (["0.0049"], "USD", ["0.00"]),
            (["0.004", "0.004", "0.004"], "USD", ["0.01", "0.00", "0.00"]),  # 1.2 cents are 1: to the first of equals
            (["0.004", "0.006", "0.004"], "USD", ["0.00", "0.01", "0.00"]),  # 1.4 cents are 1: to the largest remainder
            (["0.006", "-0.006"], "USD", ["0.01", "-0.01"]),
            (["10.4", "20.4", "30.4"], "JPY", ["11", "20", "30"]),  # 61.2 yen are 61
            (["0.0004", "0.0004"], "KWD", ["0.001", "0.000"]),  # 0.8 fils are 1
        ],
    )
    def test_gives_each_its_part_of_one_rounding(self, amounts: list[str], currency: str, parts: list[str]) -> None:
        assert [str(part) for part in lines.apportion([Decimal(each) for each in amounts], currency)] == parts

    @given(st.lists(AMOUNTS, max_size=30), CURRENCIES)
    def test_parts_add_up_to_the_rounded_sum(self, amounts: list[Decimal], currency: str) -> None:
        parts = lines.apportion(amounts, currency)

        assert sum(parts) == money.from_minor_units(money.to_minor_units(total(amounts), currency), currency)

    @given(st.lists(AMOUNTS, max_size=30), CURRENCIES)
    def test_no_part_is_a_minor_unit_off(self, amounts: list[Decimal], currency: str) -> None:
        unit = money.from_minor_units(1, currency)

        for amount, part in zip(amounts, lines.apportion(amounts, currency), strict=True):
            assert abs(part - amount) < unit

    @given(st.lists(AMOUNTS, max_size=30), CURRENCIES)
    def test_the_sum_is_at_most_half_a_minor_unit_off(self, amounts: list[Decimal], currency: str) -> None:
        parts = lines.apportion(amounts, currency)

        assert abs(total(parts) - total(amounts)) * 2 <= money.from_minor_units(1, currency)

    @given(st.lists(st.integers(-(10**9), 10**9), max_size=30), CURRENCIES)
    def test_whole_minor_units_stay_as_they_are(self, units: list[int], currency: str) -> None:
        amounts = [money.from_minor_units(each, currency) for each in units]

        assert lines.apportion(amounts, currency) == amounts


def total(amounts: Sequence[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


class TestDraft:
    def test_of_a_prepaid_month_owes_nothing(self) -> None:
        invoice = draft(usage("0.012"), usage("0.009", kind=Kind.COMPLETION), spent("0.021"))

        totals = invoice.heading.totals
        assert [line.type for line in invoice.lines] == [LineType.USAGE, LineType.USAGE, LineType.CREDITS]
        assert (totals.subtotal_exact, totals.credits_exact, totals.total_exact, totals.total) == (
            Decimal("0.021"),
            Decimal("-0.021"),
            money.ZERO,
            money.ZERO,
        )
        assert rounded(invoice) == ["0.01", "0.01", "-0.02"]  # remainders .2, .9, .9 of floors 1, 0, -3

    def test_of_a_month_beyond_its_credits_owes_the_rest(self) -> None:
        invoice = draft(usage("12.345"), spent("5"))

        assert rounded(invoice) == ["12.35", "-5.00"]
        assert invoice.heading.totals.total == Decimal("7.35")
        assert invoice.heading.totals.total_exact == Decimal("7.345")

    def test_has_no_credits_line_where_none_were_spent(self) -> None:
        assert [line.type for line in draft(usage("1"), spent("0")).lines] == [LineType.USAGE]

    @given(st.permutations(range(6)))
    def test_reads_by_project_model_kind_and_tier_with_late_usage_last(self, order: list[int]) -> None:
        search = ProjectId(UUID(int=9))
        in_order = [
            replace(usage("1", project_id=search), project_name="Search"),
            usage("1", model="a/a", kind=Kind.COMPLETION),
            usage("1", model="a/b", kind=Kind.PROMPT),
            usage("1", model="a/b", kind=Kind.PROMPT, tier=200_000),
            usage("1", model="a/b", kind=Kind.COMPLETION),
            usage("1", model="a/a", origin=OCTOBER),
        ]

        read = [line.usage for line in draft(*[in_order[place] for place in order]).lines if line.usage]

        assert [(each.project_id, each.model, each.kind, each.tier, each.origin) for each in read] == [
            (billed.project_id, billed.model, billed.kind, billed.tier, each.origin)
            for each in in_order
            for billed in [each.billed]
        ]

    def test_names_what_has_no_price_and_leaves_it_out(self) -> None:
        image = usage("0", kind=Kind.INPUT_IMAGE, unit_price=None, quantity=85)

        invoice = draft(usage("1"), image, spent("0"))

        assert invoice.unpriced == (image.billed,)
        assert len(invoice.lines) == 1

    def test_neither_bills_what_insured_calls_used_nor_waits_for_its_price(self) -> None:
        insured = usage("0", unit_price=None, price_version_id=None, quantity=85)

        assert (draft(insured).lines, draft(insured).unpriced) == ((), ())

    def test_bills_requests_only_where_they_have_a_price(self) -> None:
        priced = usage("3", kind=Kind.REQUEST, unit="per_count", quantity=3)

        assert [line.usage.kind for line in draft(priced, spent("0")).lines if line.usage] == [Kind.REQUEST]

    @given(st.lists(ABOVE_ZERO, max_size=20), st.data(), CURRENCIES)
    def test_adds_up_in_every_column(self, amounts: list[Decimal], data: st.DataObject, currency: str) -> None:
        credit = data.draw(st.decimals(min_value=0, max_value=total(amounts), places=6))
        invoice = draft(*[usage(str(each)) for each in amounts], spent(str(credit)), currency=currency)

        totals = invoice.heading.totals
        assert total([line.amount for line in invoice.lines]) == totals.total == totals.subtotal + totals.credits
        assert total([line.amount_exact for line in invoice.lines]) == totals.total_exact == total(amounts) - credit
        assert abs(totals.total - totals.total_exact) * 2 <= money.from_minor_units(1, currency)
        assert totals.total >= 0
        assert [line.n for line in invoice.lines] == list(range(1, len(invoice.lines) + 1))

    @given(st.lists(ABOVE_ZERO, max_size=10), st.randoms(use_true_random=False))
    def test_is_the_same_in_whatever_order_usage_arrives(self, amounts: list[Decimal], order: random.Random) -> None:
        usages = [usage(str(each), model=f"a/{n}") for n, each in enumerate(amounts)]

        assert draft(*order.sample(usages, len(usages))) == draft(*usages)
