"""Discounts and markups: which one applies, and what it makes of a price; every law for all prices and percentages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.builders import (
    JANUARY,
    MODEL,
    PROVIDER,
    SOMEBODY,
    a_price,
    an_adjustment,
    free,
    in_force,
    per_million,
    tiers,
)
from tests.pricing.test_rating_laws import prices, untiered_prices, usages

from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import STANDARD, PriceAdjustment, PriceBook, PriceItem, PriceVersion, Unit
from tollgate.pricing.rules import adjusted, adjusted_id, check_items, check_percent, found_again, rate

STRANGER = OrganizationId(UUID(int=8))
GENERAL = a_price(*tiers(Kind.PROMPT, "3", "6"), per_million(Kind.COMPLETION, "15"), free(Kind.INPUT_IMAGE))

percentages = st.decimals(min_value=-100, max_value=1000, places=4)


def charged(
    *adjustments: PriceAdjustment, versions: Sequence[PriceVersion] = (GENERAL,), at: datetime = JANUARY
) -> PriceVersion:
    """The standard price of somebody's call."""
    return in_force(PriceBook.of(versions, adjustments), at=at)[STANDARD]


def percent_of(*adjustments: PriceAdjustment) -> Decimal | None:
    applied = charged(*adjustments).adjustment
    return None if applied is None else applied.percent


class TestWhichApplies:
    def test_is_the_most_specific_one_alone(self) -> None:
        """Organization before everybody; model and provider, then model, then provider, then all of them."""
        scopes = list(product((SOMEBODY, None), (MODEL, None), (PROVIDER, None)))
        ranked = [
            an_adjustment(str(number), organization_id=owner, model=model, provider=provider, number=number)
            for number, (owner, model, provider) in enumerate(scopes, start=1)
        ]
        for number in range(len(ranked)):
            left = ranked[number:]
            assert percent_of(*left) == percent_of(*reversed(left)) == number + 1

    @pytest.mark.parametrize(
        "elsewhere",
        [
            an_adjustment("-50", organization_id=STRANGER),
            an_adjustment("-50", model="acme/other"),
            an_adjustment("-50", provider="other"),
            an_adjustment("-50", model=MODEL, provider="other"),
            an_adjustment("-50", since=JANUARY + timedelta(microseconds=1)),
            an_adjustment("-50", since=JANUARY - timedelta(days=1), effective_to=JANUARY),
        ],
    )
    def test_is_none_of_another_scope_or_time(self, elsewhere: PriceAdjustment) -> None:
        assert charged(elsewhere) is GENERAL
        assert percent_of(elsewhere, an_adjustment("7")) == 7

    def test_is_none_for_an_organizations_own_price(self) -> None:
        own = replace(GENERAL, organization_id=SOMEBODY)

        assert charged(an_adjustment("-10", organization_id=SOMEBODY), versions=(GENERAL, own)) is own

    def test_adjusts_every_service_tier_that_is_not_the_organizations_own(self) -> None:
        flex, own = (
            a_price(per_million(Kind.PROMPT, "1"), service_tier="flex"),
            replace(GENERAL, organization_id=SOMEBODY),
        )
        book = PriceBook.of([GENERAL, own, flex], [an_adjustment("-10")])

        found = in_force(book, at=JANUARY)

        assert (found[STANDARD], found["flex"].items) == (own, (per_million(Kind.PROMPT, "0.9"),))

    def test_may_be_one_of_nothing_that_keeps_everybodys_away(self) -> None:
        assert charged(an_adjustment("20"), an_adjustment("0", organization_id=SOMEBODY, number=4)) is GENERAL

    def test_makes_a_version_once_for_each_book(self) -> None:
        book = PriceBook.of([GENERAL], [an_adjustment("-10")])

        assert in_force(book, at=JANUARY)[STANDARD] is in_force(book, at=JANUARY)[STANDARD]

    def test_changes_exactly_at_the_instant_an_adjustment_begins_or_ends(self) -> None:
        first, second = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
        june = an_adjustment("-10", since=first, effective_to=second)
        before = timedelta(microseconds=1)

        seen = [charged(june, at=at).adjustment for at in (first - before, first, second - before, second)]

        assert seen == [None, june, june, None]


class TestAdjusted:
    def test_multiplies_every_unit_price(self) -> None:
        """A tenth off 3, 6 and 15 is 2.7, 5.4 and 13.5; what is free stays free."""
        made = adjusted(GENERAL, an_adjustment("-10"))

        assert [item.unit_price for item in made.items] == [Decimal(text) for text in ("2.7", "5.4", "13.5", "0")]
        assert (made.base, made.listed, GENERAL.listed) == (GENERAL, GENERAL, GENERAL)

    @pytest.mark.parametrize(
        ("price", "percent", "expected"),
        [
            ("0.000001", "-50", "0.000001"),  # half a millionth goes away from zero
            ("0.000001", "-50.0001", "0"),
            ("0.000003", "50", "0.000005"),  # 0.0000045
            ("0.4", "12.3456", "0.449382"),  # 0.4493824
            ("999999999.999999", "1000", "10999999999.999989"),
            ("15", "-100", "0"),
        ],
    )
    def test_rounds_a_price_of_tokens_once_to_six_decimals(self, price: str, percent: str, expected: str) -> None:
        (item,) = adjusted(a_price(per_million(Kind.PROMPT, price)), an_adjustment(percent)).items

        assert item.unit_price == Decimal(expected)

    def test_rounds_other_prices_to_twelve_decimals(self) -> None:
        item = PriceItem(Kind.REQUEST, Decimal("0.000000000003"), Unit.PER_COUNT)

        (made,) = adjusted(a_price(item), an_adjustment("50")).items

        assert made.unit_price == Decimal("0.000000000005")

    def test_is_in_force_where_both_its_parents_are(self) -> None:
        version = a_price(free(Kind.PROMPT), since=JANUARY, until=JANUARY + timedelta(days=9))
        adjustment = an_adjustment("5", since=JANUARY + timedelta(days=1))

        made = adjusted(version, adjustment)

        assert (made.effective_from, made.effective_to) == (adjustment.effective_from, version.effective_to)

    def test_has_an_id_that_never_changes(self) -> None:
        """Recorded calls name it: another id for the same parents would be another price."""
        version_id = PriceVersionId(UUID("01985f3a-7c00-7abc-8def-0123456789ab"))
        adjustment_id = PriceAdjustmentId(UUID("01985f3b-0000-7000-8000-000000000001"))

        assert adjusted_id(version_id, adjustment_id) == UUID("01985f3a-7c00-7745-88ea-4b652a249228")


@given(prices())
def test_adjusting_by_nothing_changes_nothing(price: PriceVersion) -> None:
    assert adjusted(price, an_adjustment("0")) is price


@given(usages, prices(), percentages)
def test_an_adjusted_charge_is_the_sum_of_quantities_at_adjusted_prices(
    usage: UsageQuantities, price: PriceVersion, percent: Decimal
) -> None:
    made = adjusted(price, an_adjustment(str(percent)))
    check_made(made, price, percent)
    charge, origin = rate(usage, made), rate(usage, price)

    exact = sum(
        (
            item.quantity * item.unit_price / (1_000_000 if item.unit is Unit.PER_MILLION_TOKENS else 1)
            for item in charge.items
        ),
        Decimal(0),
    )
    assert charge.amount == exact == exact.quantize(Decimal("1e-12"))
    assert [(item.kind, item.quantity) for item in charge.items] == [
        (item.kind, item.quantity) for item in origin.items
    ]
    assert (charge.unpriced, charge.tier) == (origin.unpriced, origin.tier)


def check_made(made: PriceVersion, price: PriceVersion, percent: Decimal) -> None:
    """Each price is within half of its last decimal of the exact one, and all of them could have been published."""
    for new, old in zip(made.items, price.items, strict=True):
        half = Decimal("5e-7") if old.unit is Unit.PER_MILLION_TOKENS else Decimal("5e-13")
        assert abs(new.unit_price - old.unit_price * (100 + percent) / 100) <= half
    check_items(made.items)


@given(usages, prices(), percentages)
def test_a_discount_never_costs_more_and_a_markup_never_less(
    usage: UsageQuantities, price: PriceVersion, percent: Decimal
) -> None:
    difference = rate(usage, adjusted(price, an_adjustment(str(percent)))).amount - rate(usage, price).amount

    assert difference * percent >= 0


@given(usages, usages, untiered_prices, percentages)
def test_rating_stays_additive_under_an_adjustment(
    one: UsageQuantities, other: UsageQuantities, price: PriceVersion, percent: Decimal
) -> None:
    made = adjusted(price, an_adjustment(str(percent)))

    assert rate(one + other, made).amount == rate(one, made).amount + rate(other, made).amount


@given(prices(), percentages)
def test_the_same_parents_make_the_same_version_for_ever(price: PriceVersion, percent: Decimal) -> None:
    adjustment = an_adjustment(str(percent))
    made = adjusted(price, adjustment)
    ended = adjusted(replace(price, effective_to=JANUARY + timedelta(days=2)), replace(adjustment))

    assert (ended.id, ended.items) == (made.id, made.items)
    if percent:
        strangers = [an_adjustment("1", number=number) for number in (5, 6)]
        assert found_again({made.id}, [price], [*strangers, adjustment]) == {made.id: made}
        assert found_again({made.id}, [price], strangers) == {}


@pytest.mark.parametrize("percent", ["-100", "1000", "0", "-0.0001", "12.5000000"])
def test_a_percentage_may_be(percent: str) -> None:
    check_percent(Decimal(percent))


@pytest.mark.parametrize("percent", ["-100.0001", "1000.0001", "0.00001"])
def test_a_percentage_may_not_be(percent: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_percent(Decimal(percent))
    assert refusal.value.field == "percent"
