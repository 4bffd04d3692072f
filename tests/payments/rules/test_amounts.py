"""Our amounts and Stripe's whole numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit import money
from tollgate.payments.model import NotChargeable
from tollgate.payments.rules.amounts import decimals_taken, from_stripe, to_stripe

CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD", "BHD", "ISK", "UGX", "HUF", "TWD", "MGA", "CLP"])


@given(CURRENCIES, st.integers(-(10**9), 10**9))
def test_what_stripe_takes_comes_back_the_same(currency: str, units: int) -> None:
    amount = Decimal(units).scaleb(-decimals_taken(currency))

    assert from_stripe(to_stripe(amount, currency), currency) == amount


@given(CURRENCIES, st.integers(-(10**12), 10**12))
def test_nothing_is_ever_rounded(currency: str, thousandths: int) -> None:
    amount = Decimal(thousandths).scaleb(-3)
    try:
        units = to_stripe(amount, currency)
    except NotChargeable:
        return
    assert from_stripe(units, currency) == amount
    assert money.decimals_of(amount) <= decimals_taken(currency)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("12.34", "USD", 1234),
        ("500", "JPY", 500),
        ("1.25", "KWD", 1250),
        ("5", "ISK", 500),
        ("7", "UGX", 700),
        ("10.45", "HUF", 1045),
        ("-3", "TWD", -300),
    ],
)
def test_amounts_are_written_as_stripe_documents(amount: str, currency: str, units: int) -> None:
    assert to_stripe(Decimal(amount), currency) == units


@pytest.mark.parametrize(
    ("amount", "currency", "field"),
    [
        ("0.005", "USD", "amount"),
        ("1.5", "JPY", "amount"),
        ("1.255", "KWD", "amount"),  # the third decimal must be zero
        ("5.5", "ISK", "amount"),
        ("1.5", "MGA", "amount"),
        ("1", "CLF", "currency"),
        ("10000000000000", "USD", "amount"),
    ],
)
def test_what_stripe_cannot_take_is_refused_with_a_reason(amount: str, currency: str, field: str) -> None:
    with pytest.raises(NotChargeable) as refused:
        to_stripe(Decimal(amount), currency)
    assert refused.value.field == field
