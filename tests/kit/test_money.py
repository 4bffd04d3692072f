"""Amounts are exact or they are refused; only an invoice's total is ever rounded."""

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.kit import money

amounts = st.decimals(min_value=Decimal("-1e25"), max_value=Decimal("1e25"), places=12)
currencies = st.sampled_from(["USD", "JPY", "KWD", "CLF"])


class TestAmountsAsText:
    @given(amounts)
    def test_an_amount_survives_its_text(self, amount: Decimal) -> None:
        assert money.parse_amount(money.amount_text(amount)) == amount

    @given(amounts)
    def test_equal_amounts_have_one_text(self, amount: Decimal) -> None:
        assert money.amount_text(amount) == money.amount_text(amount.normalize(money.EXACT))

    @pytest.mark.parametrize(
        ("amount", "text"),
        [
            ("0.000820000000", "0.00082"),
            ("1E+3", "1000"),
            ("1E-12", "0.000000000001"),
            ("100", "100"),
            ("-0.00", "0"),
            ("0E-12", "0"),
            ("-2.50", "-2.5"),
        ],
    )
    def test_the_text_is_plain_and_has_no_trailing_zeros(self, amount: str, text: str) -> None:
        assert money.amount_text(Decimal(amount)) == text

    @pytest.mark.parametrize(
        "text",
        ["", " ", "1 ", " 1", "1,5", "1_000", "+1", ".5", "5.", "1e3", "1E-3", "NaN", "Infinity", "-Infinity", "sNaN"],
    )
    def test_what_is_not_a_plain_number_is_refused(self, text: str) -> None:
        with pytest.raises(money.NotMoney):
            money.parse_amount(text)

    @pytest.mark.parametrize("text", ["\N{FULLWIDTH DIGIT ONE}", "\N{ARABIC-INDIC DIGIT ONE}", "--1", "0x1", "1.2.3"])
    def test_digits_of_other_scripts_are_refused(self, text: str) -> None:
        with pytest.raises(money.NotMoney):
            money.parse_amount(text)

    @pytest.mark.parametrize(
        "text",
        [
            "0.0000000000001",
            "1" + "0" * 26,
            "0." + "1" * 40,
            "9" * 60,
            "1" * 200,
        ],
    )
    def test_what_the_ledger_could_not_hold_is_refused(self, text: str) -> None:
        with pytest.raises(money.NotMoney):
            money.parse_amount(text)

    @pytest.mark.parametrize("text", ["9" * 26 + "." + "9" * 12, "0.1" + "0" * 40, "-" + "9" * 26, "007"])
    def test_what_the_ledger_can_hold_is_read(self, text: str) -> None:
        assert money.parse_amount(text) == Decimal(text)

    @given(st.text(max_size=100))
    def test_any_other_text_is_refused_in_one_way(self, text: str) -> None:
        try:
            amount = money.parse_amount(text)
        except money.NotMoney:
            return
        assert money.decimals_of(amount) <= money.AMOUNT_DECIMALS

    @given(st.integers(min_value=-(10**30), max_value=10**30), st.integers(min_value=0, max_value=30))
    def test_the_decimals_are_those_that_are_needed(self, digits: int, places: int) -> None:
        amount = Decimal(digits).scaleb(-places, decimal.Context(prec=60))
        found = money.decimals_of(amount)
        assert Fraction(amount) * 10**found % 1 == 0
        assert found == 0 or Fraction(amount) * 10 ** (found - 1) % 1 != 0


class TestArithmetic:
    @given(amounts, amounts)
    def test_a_sum_is_exact(self, one: Decimal, other: Decimal) -> None:
        assert Fraction(money.EXACT.add(one, other)) == Fraction(one) + Fraction(other)

    def test_a_result_that_needs_rounding_raises(self) -> None:
        with pytest.raises(decimal.Inexact):
            money.EXACT.divide(Decimal(1), Decimal(3))
        with pytest.raises(decimal.Inexact):
            money.EXACT.multiply(Decimal("1." + "1" * 30), Decimal("1." + "1" * 30))

    def test_a_float_raises(self) -> None:
        with pytest.raises(decimal.FloatOperation):
            money.EXACT.create_decimal(0.1)

    @given(st.lists(st.integers(-(10**20), 10**20).map(lambda units: Decimal(units).scaleb(-12)), max_size=8))
    def test_a_total_is_the_sum_of_its_amounts(self, amounts: list[Decimal]) -> None:
        assert Fraction(money.total(amounts)) == sum(map(Fraction, amounts))


class TestMinorUnits:
    @pytest.mark.parametrize(
        ("amount", "currency", "units"),
        [
            ("1.005", "USD", 101),
            ("-1.005", "USD", -101),
            ("1.004999999999", "USD", 100),
            ("0.5", "JPY", 1),
            ("-0.5", "JPY", -1),
            ("2.5", "JPY", 3),
            ("1.0005", "KWD", 1001),
            ("1.00005", "CLF", 10001),
            ("0.004999999999", "EUR", 0),
            ("1234.5", "XOF", 1235),
        ],
    )
    def test_half_a_unit_is_rounded_away_from_zero(self, amount: str, currency: str, units: int) -> None:
        assert money.to_minor_units(Decimal(amount), currency) == units

    @given(amounts, currencies)
    def test_rounding_moves_an_amount_by_half_a_unit_at_most(self, amount: Decimal, currency: str) -> None:
        units = money.to_minor_units(amount, currency)
        moved = abs(Fraction(amount) * 10 ** money.minor_unit_decimals(currency) - units)
        assert moved <= Fraction(1, 2)

    @given(amounts, currencies)
    def test_rounding_treats_charges_and_credits_alike(self, amount: Decimal, currency: str) -> None:
        assert money.to_minor_units(-amount, currency) == -money.to_minor_units(amount, currency)

    @settings(deadline=None)
    @given(st.integers(min_value=-(10**20), max_value=10**20), currencies)
    def test_whole_units_survive_the_way_there_and_back(self, units: int, currency: str) -> None:
        assert money.to_minor_units(money.from_minor_units(units, currency), currency) == units

    def test_an_amount_of_units_is_exact(self) -> None:
        assert money.from_minor_units(1234, "USD") == Decimal("12.34")
        assert money.from_minor_units(1234, "JPY") == Decimal(1234)
        assert money.from_minor_units(1234, "BHD") == Decimal("1.234")
