"""What may be agreed and said, and what a month costs under it: worked numbers, and laws."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agreements.builders import (
    ACME,
    BERLIN,
    MADE,
    NOVEMBER,
    a_commitment,
    a_discount,
    a_subscription,
    an_order,
)
from tests.invoices.builders import an_organization

from tollgate.agreements.model import (
    Agreement,
    AgreementKind,
    AgreementOrder,
    Days,
    Issuer,
    TaxId,
    TaxTerms,
    TaxTreatment,
)
from tollgate.agreements.rules import billing, terms
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
"""With 0, 2 and 3 decimals."""
UNITS = st.integers(0, 10**9)
RATES = st.decimals(min_value=0, max_value=100, places=4)
TODAY = date(2026, 11, 22)


def a_month(number: int) -> Days:
    return Days(date(2026, number, 1), date(2026 + number // 12, number % 12 + 1, 1))


class TestFee:
    @pytest.mark.parametrize(
        ("fee", "currency", "first", "end", "cost"),
        [
            ("30", "USD", 1, 31, "30.00"),
            ("30", "USD", 16, 31, "15.00"),  # 15 of 30 days
            ("10", "USD", 1, 2, "0.33"),  # 0.333…
            ("10", "USD", 2, 3, "0.34"),  # f(2) - f(1) = 0.67 - 0.33
            ("1000", "JPY", 1, 8, "233"),  # 233.33…
            ("10", "KWD", 1, 8, "2.333"),
            ("0.01", "USD", 1, 2, "0.00"),
        ],
    )
    def test_of_a_part_of_november(self, fee: str, currency: str, first: int, end: int, cost: str) -> None:
        start = date(2026, 11, 1)
        days = {"starts_on": start + timedelta(days=first - 1), "ends_on": start + timedelta(days=end - 1)}

        assert str(terms.fee(a_subscription(fee, currency=currency, **days), NOVEMBER)) == cost

    def test_of_a_month_before_or_after_is_nothing(self) -> None:
        subscription = a_subscription(starts_on=date(2026, 11, 1), ends_on=date(2026, 12, 1))

        assert [terms.fee(subscription, a_month(number)) for number in (10, 11, 12)] == [0, 30, 0]

    @given(UNITS, CURRENCIES, st.integers(1, 12), st.sets(st.integers(1, 31), max_size=8))
    def test_of_parts_that_adjoin_adds_up_to_the_whole(
        self, units: int, currency: str, number: int, cuts: set[int]
    ) -> None:
        month, fee = a_month(number), money.from_minor_units(units, currency)
        days = sorted(
            {month.start + timedelta(days=cut) for cut in cuts if cut < len(month)} | {month.start, month.end}
        )

        parts = [
            terms.fee(a_subscription(str(fee), currency=currency, starts_on=start, ends_on=end), month)
            for start, end in pairwise(days)
        ]

        assert sum(parts) == fee
        assert all(part >= 0 for part in parts)


class TestCommitmentsAndDiscounts:
    def test_a_month_lacks_what_it_did_not_use(self) -> None:
        assert terms.missing(a_commitment("100"), Decimal("99.999999")) == Decimal("0.000001")
        assert terms.missing(a_commitment("100"), Decimal("100.5")) == 0

    def test_a_discount_keeps_twelve_decimals_half_away_from_zero(self) -> None:
        assert terms.discount(a_discount("10"), Decimal("12.345")) == Decimal("1.2345")
        assert terms.discount(a_discount("0.5"), Decimal("0.0000000001")) == Decimal("0.000000000001")  # 0.5 of a unit

    @given(st.decimals(min_value=0, max_value=10**15, places=12), st.decimals("0.0001", 100, places=4))
    def test_a_discount_is_never_more_than_what_it_is_on(self, amount: Decimal, percent: Decimal) -> None:
        off = terms.discount(a_discount(str(percent)), amount)

        assert 0 <= off <= amount
        assert abs(Fraction(off) - Fraction(amount) * Fraction(percent) / 100) * 2 <= Fraction(1, 10**12)


class TestTax:
    @pytest.mark.parametrize(
        ("amount", "treatment", "rate", "currency", "tax"),
        [
            ("100.00", TaxTreatment.EXCLUSIVE, "19", "EUR", "19.00"),
            ("119.00", TaxTreatment.INCLUSIVE, "19", "EUR", "19.00"),
            ("0.50", TaxTreatment.EXCLUSIVE, "25", "SEK", "0.13"),  # 0.125: half away from zero
            ("105", TaxTreatment.EXCLUSIVE, "10", "JPY", "11"),  # 10.5
            ("1.001", TaxTreatment.EXCLUSIVE, "5", "KWD", "0.050"),  # 0.05005
            ("100.00", TaxTreatment.REVERSE_CHARGE, "0", "EUR", "0.00"),
            ("100.00", TaxTreatment.NONE, "0", "EUR", "0.00"),
        ],
    )
    def test_in_numbers(self, amount: str, treatment: TaxTreatment, rate: str, currency: str, tax: str) -> None:
        assert str(billing.tax_on(Decimal(amount), TaxTerms(treatment, Decimal(rate)), currency)) == tax

    @given(UNITS, RATES, CURRENCIES)
    def test_is_the_rate_of_the_net_rounded_once(self, units: int, rate: Decimal, currency: str) -> None:
        net = money.from_minor_units(units, currency)
        added = billing.tax_on(net, TaxTerms(TaxTreatment.EXCLUSIVE, rate), currency)
        contained = billing.tax_on(net, TaxTerms(TaxTreatment.INCLUSIVE, rate), currency)

        unit = Fraction(money.from_minor_units(1, currency))
        assert abs(Fraction(added) - Fraction(net) * Fraction(rate) / 100) * 2 <= unit
        assert abs((Fraction(net) - Fraction(contained)) * Fraction(rate) / 100 - Fraction(contained)) <= unit
        assert 0 <= contained <= added

    def test_under_reverse_charge_says_why_there_is_none(self) -> None:
        reverse = TaxTerms(TaxTreatment.REVERSE_CHARGE)

        assert billing.note_of(reverse) == billing.REVERSE_CHARGE_NOTE
        assert billing.note_of(replace(reverse, note="Art. 196")) == "Art. 196"
        assert billing.note_of(TaxTerms()) is None


class TestOrders:
    @pytest.mark.parametrize(
        ("order", "field"),
        [
            (an_order(currency="EUR"), "currency"),
            (an_order(amount=Decimal(0)), "fee"),
            (an_order(amount=Decimal("0.001")), "fee"),
            (an_order(amount=Decimal(10**19)), "fee"),
            (an_order(name=" "), "name"),
            (an_order(name=None), "name"),
            (an_order(name="a\x07b"), "name"),
            (an_order(name="a" * 201), "name"),
            (an_order(starts_on=date(1999, 1, 1)), "starts_on"),
            (an_order(starts_on=date(2026, 8, 31)), "starts_on"),  # the day before the organization was there
            (an_order(ends_on=date(9500, 1, 1)), "ends_on"),
            (an_order(ends_on=date(2026, 11, 1)), "ends_on"),
            (an_order(AgreementKind.COMMITMENT, amount=Decimal(0)), "amount"),
            (an_order(AgreementKind.COMMITMENT, starts_on=date(2026, 8, 1)), "from_month"),
            (an_order(AgreementKind.COMMITMENT, ends_on=date(2026, 10, 1)), "to_month"),
            (an_order(AgreementKind.DISCOUNT, percent=Decimal(0)), "percent"),
            (an_order(AgreementKind.DISCOUNT, percent=Decimal("100.0001")), "percent"),
            (an_order(AgreementKind.DISCOUNT, percent=Decimal("0.00001")), "percent"),
        ],
    )
    def test_that_cannot_be_name_the_part_at_fault(self, order: AgreementOrder, field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            terms.check_order(order, an_organization())

        assert refused.value.field == field

    @pytest.mark.parametrize("kind", AgreementKind)
    def test_that_can_be_are_taken(self, kind: AgreementKind) -> None:
        terms.check_order(
            an_order(kind, currency="USD" if kind is AgreementKind.COMMITMENT else None), an_organization()
        )

    @given(st.integers(0, 60), st.integers(1, 60) | st.none(), st.integers(0, 60), st.integers(1, 60) | st.none())
    def test_are_apart_exactly_when_they_share_no_day(
        self, first: int, length: int | None, other: int, other_length: int | None
    ) -> None:
        def days(start: int, count: int | None) -> dict[str, Any]:
            began = date(2026, 11, 1) + timedelta(days=start)
            return {"starts_on": began, "ends_on": None if count is None else began + timedelta(days=count)}

        share = other < first + (length or 1000) and first < other + (other_length or 1000)
        with pytest.raises(Conflict, match="end it first") if share else nullcontext():
            terms.check_apart(an_order(**days(first, length)), [a_subscription(**days(other, other_length))])

    def test_of_other_names_and_kinds_do_not_meet(self) -> None:
        terms.check_apart(an_order(name="Support"), [a_subscription(), a_commitment(), a_discount()])
        with pytest.raises(Conflict):
            terms.check_apart(an_order(AgreementKind.DISCOUNT), [a_discount()])


class TestEnds:
    @pytest.mark.parametrize(
        ("agreement", "asked", "ends_on"),
        [
            (a_subscription(), None, TODAY),
            (a_subscription(), date(2026, 12, 24), date(2026, 12, 24)),
            (a_subscription(starts_on=date(2026, 12, 5)), None, date(2026, 12, 5)),  # it never began
            (a_commitment(), None, date(2026, 12, 1)),  # the running month stays as agreed
            (a_discount(), date(2027, 1, 1), date(2027, 1, 1)),
            (a_discount(starts_on=date(2026, 12, 1)), None, date(2026, 12, 1)),
        ],
    )
    def test_are_never_before_what_has_begun(self, agreement: Agreement, asked: date | None, ends_on: date) -> None:
        ended = terms.ended(agreement, asked, today=TODAY, by=None, now=MADE)

        assert (ended.ends_on, ended.ended_at) == (ends_on, MADE)

    @pytest.mark.parametrize(
        ("agreement", "asked"),
        [
            (a_subscription(), TODAY - timedelta(days=1)),
            (a_subscription(starts_on=date(2026, 12, 5)), date(2026, 12, 4)),
            (a_commitment(), date(2026, 11, 1)),
            (a_discount(starts_on=date(2026, 12, 1)), date(2026, 11, 1)),
        ],
    )
    def test_that_would_take_back_what_has_begun_are_refused(self, agreement: Agreement, asked: date) -> None:
        with pytest.raises(InvalidRequest):
            terms.ended(agreement, asked, today=TODAY, by=None, now=MADE)

    @pytest.mark.parametrize("asked", [None, date(2026, 12, 1), date(2027, 1, 1)])
    def test_do_not_move_later(self, asked: date | None) -> None:
        over = a_subscription(ends_on=TODAY if asked is None else date(2026, 12, 1))

        with pytest.raises(Conflict):
            terms.ended(over, asked, today=TODAY, by=None, now=MADE)

    def test_are_of_years_that_can_be_reckoned_with(self) -> None:
        with pytest.raises(InvalidRequest):
            terms.ended(a_subscription(), date(9500, 1, 1), today=TODAY, by=None, now=MADE)


class TestDetails:
    def test_that_can_be_are_taken(self) -> None:
        billing.check_details(ACME)
        billing.check_details(replace(ACME, address=replace(BERLIN, postal_code="")))
        billing.check_issuer(Issuer("株式会社トールゲート", BERLIN, instructions="IBAN\nBIC"))

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"legal_name": ""}, "legal_name"),
            ({"address": replace(BERLIN, country="XX")}, "address.country"),
            ({"address": replace(BERLIN, country="de")}, "address.country"),
            ({"address": replace(BERLIN, lines=())}, "address.lines"),
            ({"address": replace(BERLIN, lines=("a",) * 5)}, "address.lines"),
            ({"address": replace(BERLIN, city="\n")}, "address.city"),
            ({"address": replace(BERLIN, postal_code=" ")}, "address.postal_code"),
            ({"tax_ids": (TaxId("EU VAT", "DE1"),)}, "tax_ids.type"),
            ({"tax_ids": (TaxId("eu_vat", "<b>"),)}, "tax_ids.value"),
            ({"tax_ids": (TaxId("eu_vat", "DE1"),) * 6}, "tax_ids"),
            ({"email": "nobody"}, "email"),
            ({"email": "a@" + "b." * 130 + "c"}, "email"),
            ({"purchase_order": "\ud800"}, "purchase_order"),
            ({"notes": "x" * 2001}, "notes"),
            ({"term_days": 366}, "term_days"),
            ({"tax": TaxTerms(TaxTreatment.EXCLUSIVE, Decimal(101))}, "tax.rate"),
            ({"tax": TaxTerms(TaxTreatment.EXCLUSIVE, Decimal("0.00001"))}, "tax.rate"),
            ({"tax": TaxTerms(TaxTreatment.NONE, Decimal(1))}, "tax.rate"),
            ({"tax": TaxTerms(TaxTreatment.REVERSE_CHARGE, Decimal(1))}, "tax.rate"),
            ({"tax": TaxTerms(label="")}, "tax.label"),
            ({"tax": TaxTerms(note="")}, "tax.note"),
            ({"tax": TaxTerms(TaxTreatment.REVERSE_CHARGE), "tax_ids": ()}, "tax_ids"),
        ],
    )
    def test_that_cannot_be_name_the_part_at_fault(self, change: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            billing.check_details(replace(ACME, **change))

        assert refused.value.field == field

    def test_know_the_countries_of_the_time_zone_database(self) -> None:
        table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text(encoding="utf-8")

        assert {line[:2] for line in table.splitlines() if not line.startswith("#")} == billing.COUNTRIES
