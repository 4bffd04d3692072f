"""The worked numbers of billing-rules §3, with their hand arithmetic, and what a price version may look like."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from tests.pricing.builders import JANUARY, a_price, at, free, in_force, per_million, tiers

from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import OrganizationId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import STANDARD, PriceBook, PriceItem, Unit
from tollgate.pricing.rules import affordable_completion_tokens, check_items, rate, worst_case

CUSTOMER = OrganizationId(UUID(int=7))
STRANGER = OrganizationId(UUID(int=8))

TIERED = a_price(
    *tiers(Kind.PROMPT, "3", "6"), *tiers(Kind.INPUT_CACHE_READ, "0.3", "0.6"), *tiers(Kind.COMPLETION, "15", "22.5")
)


class TestRate:
    def test_multiplies_plain_tokens_by_their_prices(self) -> None:
        """16,527 * 3 = 49,581 and 95 * 15 = 1,425: together 51,006 millionths."""
        price = a_price(per_million(Kind.PROMPT, "3"), per_million(Kind.COMPLETION, "15"))

        charge = rate(UsageQuantities({Kind.PROMPT: 16_527, Kind.COMPLETION: 95}), price)

        assert charge.amount == Decimal("0.051006")

    def test_charges_the_cached_part_at_its_own_price(self) -> None:
        """800 * 0.4 = 320, 200 * 0.1 = 20 and 300 * 1.6 = 480: together 820 millionths."""
        price = a_price(
            per_million(Kind.PROMPT, "0.4"),
            per_million(Kind.INPUT_CACHE_READ, "0.1"),
            per_million(Kind.COMPLETION, "1.6"),
        )

        charge = rate(UsageQuantities({Kind.PROMPT: 800, Kind.INPUT_CACHE_READ: 200, Kind.COMPLETION: 300}), price)

        assert charge.amount == Decimal("0.00082")
        assert [item.amount for item in charge.items] == [Decimal("0.00032"), Decimal("0.00002"), Decimal("0.00048")]

    def test_charges_every_part_of_an_anthropic_split_apart(self) -> None:
        """100 * 3 + 1,000 * 0.3 + 2,000 * 3.75 + 500 * 6 + 50 * 15 = 300 + 300 + 7,500 + 3,000 + 750 = 11,850."""
        price = a_price(
            per_million(Kind.PROMPT, "3"),
            per_million(Kind.INPUT_CACHE_READ, "0.3"),
            per_million(Kind.INPUT_CACHE_WRITE_5M, "3.75"),
            per_million(Kind.INPUT_CACHE_WRITE_1H, "6"),
            per_million(Kind.COMPLETION, "15"),
        )
        quantities = UsageQuantities(
            {
                Kind.PROMPT: 100,
                Kind.INPUT_CACHE_READ: 1_000,
                Kind.INPUT_CACHE_WRITE_5M: 2_000,
                Kind.INPUT_CACHE_WRITE_1H: 500,
                Kind.COMPLETION: 50,
            }
        )

        assert rate(quantities, price).amount == Decimal("0.01185")

    def test_charges_a_cache_write_without_a_split(self) -> None:
        """3 * 3 + 12,304 * 3.75 + 550 * 15 = 9 + 46,140 + 8,250 = 54,399 millionths."""
        price = a_price(
            per_million(Kind.PROMPT, "3"),
            per_million(Kind.INPUT_CACHE_WRITE_5M, "3.75"),
            per_million(Kind.COMPLETION, "15"),
        )
        quantities = UsageQuantities({Kind.PROMPT: 3, Kind.INPUT_CACHE_WRITE_5M: 12_304, Kind.COMPLETION: 550})

        assert rate(quantities, price).amount == Decimal("0.054399")

    def test_charges_a_cache_write_of_known_lifetime_as_prompt_where_only_the_general_write_has_a_price(self) -> None:
        """1,000,000 of each: 3.75 for the general write, and 3, the price of prompts, for either lifetime."""
        price = a_price(per_million(Kind.PROMPT, "3"), per_million(Kind.INPUT_CACHE_WRITE, "3.75"))
        writes = (Kind.INPUT_CACHE_WRITE, Kind.INPUT_CACHE_WRITE_5M, Kind.INPUT_CACHE_WRITE_1H)

        charge = rate(UsageQuantities(dict.fromkeys(writes, 1_000_000)), price)

        assert {item.kind: item.amount for item in charge.items} == dict(
            zip(writes, (Decimal("3.75"), Decimal(3), Decimal(3)), strict=True)
        )

    def test_counts_cached_tokens_when_it_chooses_the_tier(self) -> None:
        """150k + 60k = 210k is in the upper tier: 150,000 * 6 + 60,000 * 0.6 + 2,000 * 22.5 = 981,000 millionths."""
        quantities = UsageQuantities({Kind.PROMPT: 150_000, Kind.INPUT_CACHE_READ: 60_000, Kind.COMPLETION: 2_000})

        charge = rate(quantities, TIERED)

        assert charge.amount == Decimal("0.981")
        assert charge.tier == 200_000

    def test_rates_the_whole_request_at_its_tier(self) -> None:
        """250,000 * 6 + 1,000 * 22.5 = 1,522,500 millionths: no part of it at the lower tier."""
        quantities = UsageQuantities({Kind.PROMPT: 250_000, Kind.COMPLETION: 1_000})

        assert rate(quantities, TIERED).amount == Decimal("1.5225")

    def test_puts_the_boundary_in_the_tier_that_begins_there(self) -> None:
        """Exactly 200,000 * 6 = 1,200,000 millionths; one token less costs 199,999 * 3."""
        assert rate(UsageQuantities({Kind.PROMPT: 200_000}), TIERED).amount == Decimal("1.2")
        assert rate(UsageQuantities({Kind.PROMPT: 199_999}), TIERED).amount == Decimal("0.599997")

    def test_charges_thoughts_as_completion(self) -> None:
        """9 * 0.30 + (1 + 21) * 2.50 = 2.7 + 55 = 57.7 millionths."""
        price = a_price(per_million(Kind.PROMPT, "0.30"), per_million(Kind.COMPLETION, "2.50"))
        quantities = UsageQuantities({Kind.PROMPT: 9, Kind.COMPLETION: 1, Kind.INTERNAL_REASONING: 21})

        charge = rate(quantities, price)

        assert charge.amount == Decimal("0.0000577")
        assert charge.items[-1].kind is Kind.INTERNAL_REASONING

    def test_charges_flex_calls_at_the_flex_version(self) -> None:
        """1,000 * 0.125 + 1,000 * 0.0125 + 500 * 1.00 = 125 + 12.5 + 500 = 637.5 millionths."""
        flex = a_price(
            per_million(Kind.PROMPT, "0.125"),
            per_million(Kind.INPUT_CACHE_READ, "0.0125"),
            per_million(Kind.COMPLETION, "1.00"),
            service_tier="flex",
        )
        quantities = UsageQuantities({Kind.PROMPT: 1_000, Kind.INPUT_CACHE_READ: 1_000, Kind.COMPLETION: 500})

        assert rate(quantities, flex).amount == Decimal("0.0006375")

    def test_names_a_base_kind_without_a_price_and_charges_the_rest(self) -> None:
        price = a_price(per_million(Kind.PROMPT, "3"))

        charge = rate(UsageQuantities({Kind.PROMPT: 10, Kind.COMPLETION: 5, Kind.WEB_SEARCH: 1}), price)

        assert not charge.priced
        assert charge.unpriced == (Kind.COMPLETION, Kind.WEB_SEARCH)
        assert charge.amount == Decimal("0.00003")

    def test_charges_a_request_only_where_requests_have_a_price(self) -> None:
        one = UsageQuantities({Kind.REQUEST: 1})
        searching = a_price(per_million(Kind.PROMPT, "3"), PriceItem(Kind.REQUEST, Decimal("0.005"), Unit.PER_COUNT))

        assert rate(one, searching).amount == Decimal("0.005")
        assert rate(one, a_price(per_million(Kind.PROMPT, "3"))).priced
        assert rate(one, a_price(per_million(Kind.PROMPT, "3"))).items == ()

    def test_shows_what_is_free_as_an_item_of_nothing(self) -> None:
        charge = rate(UsageQuantities({Kind.PROMPT: 10}), a_price(free(Kind.PROMPT)))

        assert charge.priced
        assert charge.items[0].amount == 0


class TestAffordableCompletionTokens:
    def test_is_unlimited_where_output_is_free(self) -> None:
        price = a_price(per_million(Kind.PROMPT, "3"), free(Kind.COMPLETION))

        assert affordable_completion_tokens(Decimal("0.01"), 100, price) is None

    def test_is_negative_when_the_prompt_alone_costs_too_much(self) -> None:
        """1,000 * 3 = 3,000 millionths, one more than there is."""
        price = a_price(per_million(Kind.PROMPT, "3"), free(Kind.COMPLETION))

        assert affordable_completion_tokens(Decimal("0.002999"), 1_000, price) == -1

    def test_buys_what_the_rest_of_the_budget_carries(self) -> None:
        """0.01 - 1,000 * 3 millionths = 7,000 millionths: 466 tokens at 15, and 10 millionths left."""
        price = a_price(per_million(Kind.PROMPT, "3"), per_million(Kind.COMPLETION, "15"))

        assert affordable_completion_tokens(Decimal("0.01"), 1_000, price) == 466


class TestWorstCase:
    def test_is_zero_for_a_free_model(self) -> None:
        assert worst_case(1_000, 1_000, a_price(free(Kind.PROMPT), free(Kind.COMPLETION))) == 0

    def test_reckons_with_the_dearest_kind_and_the_request(self) -> None:
        """1,000 * 6 (a one-hour cache write) + 10 * 15 = 6,150 millionths, and 0.01 for the request."""
        price = a_price(
            per_million(Kind.PROMPT, "3"),
            per_million(Kind.INPUT_CACHE_WRITE_1H, "6"),
            per_million(Kind.COMPLETION, "15"),
            PriceItem(Kind.REQUEST, Decimal("0.01"), Unit.PER_COUNT),
        )

        assert worst_case(1_000, 10, price) == Decimal("0.01615")

    def test_leaves_out_a_tier_the_prompt_cannot_reach(self) -> None:
        assert worst_case(199_999, 0, TIERED) == Decimal("0.599997")
        assert worst_case(200_000, 0, TIERED) == Decimal("1.2")


class TestPricesInForce:
    def test_prefer_the_organizations_own_price(self) -> None:
        general, own = a_price(free(Kind.PROMPT)), a_price(free(Kind.PROMPT), organization_id=CUSTOMER)

        for versions in ([own, general], [general, own]):
            book = PriceBook.of(versions)
            assert in_force(book, at=JANUARY, organization_id=CUSTOMER) == {STANDARD: own}
            assert in_force(book, at=JANUARY, organization_id=STRANGER)[STANDARD] is general

    def test_are_told_by_service_tier(self) -> None:
        flex = a_price(free(Kind.PROMPT), service_tier="flex")
        own = a_price(free(Kind.PROMPT), organization_id=CUSTOMER)

        assert in_force(PriceBook.of([own, flex]), at=JANUARY, organization_id=CUSTOMER) == {
            "flex": flex,
            STANDARD: own,
        }

    def test_change_exactly_at_the_instant_a_version_begins(self) -> None:
        change = datetime(2026, 6, 1, tzinfo=UTC)
        old = a_price(free(Kind.PROMPT), until=change)
        new = a_price(per_million(Kind.PROMPT, "1"), since=change)

        assert at([old, new], change - timedelta(microseconds=1)) is old
        assert at([old, new], change) is new

    def test_are_none_before_the_first_version(self) -> None:
        assert at([a_price(free(Kind.PROMPT))], JANUARY - timedelta(days=1)) is None


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([per_million(Kind.PROMPT, "3"), per_million(Kind.PROMPT, "4")], "items[1].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", 0, 100), per_million(Kind.PROMPT, "4", 99)], "items[1].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", 0, 100), per_million(Kind.PROMPT, "4", 101)], "items[1].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", 1)], "items[0].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", -1)], "items[0].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", 0, 100)], "items[0].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3", 0, 0)], "items[0].prompt_tokens"),
        ([per_million(Kind.PROMPT, "3"), per_million(Kind.COMPLETION, "-1")], "items[1].price"),
        ([per_million(Kind.PROMPT, "NaN")], "items[0].price"),
        ([per_million(Kind.PROMPT, "Infinity")], "items[0].price"),
        ([per_million(Kind.PROMPT, "1000000000")], "items[0].price"),
        ([per_million(Kind.PROMPT, "0.0000001")], "items[0].price"),
        ([PriceItem(Kind.REQUEST, Decimal("0.0000000000001"), Unit.PER_COUNT)], "items[0].price"),
        ([PriceItem(Kind.PROMPT, Decimal(1), Unit.PER_COUNT)], "items[0].unit"),
        ([PriceItem(Kind.AUDIO_SECONDS, Decimal(1), Unit.PER_COUNT)], "items[0].unit"),
        ([PriceItem(Kind.WEB_SEARCH, Decimal(1), Unit.PER_SECOND)], "items[0].unit"),
        ([per_million(Kind.COMPLETION, "3")], "items"),
        ([], "items"),
    ],
)
def test_items_that_could_not_rate_every_call_are_refused(items: list[PriceItem], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_items(items)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "items",
    [
        [per_million(Kind.PROMPT, "0.000001")],
        [per_million(Kind.PROMPT, "4", 100), per_million(Kind.PROMPT, "3", 0, 100)],
        [PriceItem(Kind.REQUEST, Decimal("0.000000000001"), Unit.PER_COUNT)],
        [PriceItem(Kind.AUDIO_SECONDS, Decimal("0.0001"), Unit.PER_SECOND)],
    ],
)
def test_items_that_tile_and_fit_are_accepted(items: list[PriceItem]) -> None:
    check_items(items)
