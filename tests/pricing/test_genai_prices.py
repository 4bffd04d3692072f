"""The public price list, read into ours: exactly, or not at all and with the reason."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices import Usage
from genai_prices.data import providers as price_list
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pricing.builders import a_price, per_million

from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.genai_prices import BEGINNING, ListedModel, Unlisted, read
from tollgate.pricing.model import STANDARD, DatedItems, PriceItem, Unit
from tollgate.pricing.rules import check_items, rate

PLAIN = ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(15))


def a_model(prices: ModelPrice | list[ConditionalPrice], **fields: object) -> ModelInfo:
    given_fields = {"id": "large", "match": ClauseEquals(equals="large")} | fields
    return ModelInfo(prices=prices, **given_fields)  # type: ignore[arg-type]  # one field each


def read_one(model: ModelInfo) -> ListedModel | Unlisted:
    (entry,) = read([Provider(id="acme", name="Acme", api_pattern="acme", models=[model])])
    return entry


def read_model(model: ModelInfo) -> ListedModel:
    entry = read_one(model)
    assert isinstance(entry, ListedModel), entry
    return entry


def standard_items(price: ModelPrice) -> tuple[PriceItem, ...]:
    (dated,) = read_model(a_model(price)).prices[STANDARD]
    return dated.items


def reason(model: ModelInfo) -> str:
    entry = read_one(model)
    assert isinstance(entry, Unlisted), entry
    return entry.reason


class TestRead:
    def test_begins_a_price_without_a_date_before_any_call(self) -> None:
        assert read_model(a_model(PLAIN)).prices == {
            STANDARD: (DatedItems(BEGINNING, (per_million(Kind.PROMPT, "3"), per_million(Kind.COMPLETION, "15"))),)
        }

    def test_begins_a_dated_price_at_midnight_utc(self) -> None:
        later = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(8))
        dated = ConditionalPrice(StartDateConstraint(date(2025, 6, 10)), prices=later)

        first, second = read_model(a_model([ConditionalPrice(prices=PLAIN), dated])).prices[STANDARD]

        assert first.items[0].unit_price == 3
        assert second.effective_from == datetime(2025, 6, 10, tzinfo=UTC)
        assert second.items[0].unit_price == 2

    def test_leaves_out_dates_at_which_nothing_changes(self) -> None:
        same = ConditionalPrice(StartDateConstraint(date(2025, 6, 10)), prices=PLAIN)

        assert len(read_model(a_model([ConditionalPrice(prices=PLAIN), same])).prices[STANDARD]) == 1

    def test_begins_a_tier_above_its_start_as_the_list_means_it(self) -> None:
        tiered = TieredPrices(base=Decimal(3), tiers=[Tier(200_000, Decimal(6)), Tier(500_000, Decimal(9))])

        assert standard_items(ModelPrice(input_mtok=tiered)) == (
            per_million(Kind.PROMPT, "3", 0, 200_001),
            per_million(Kind.PROMPT, "6", 200_001, 500_001),
            per_million(Kind.PROMPT, "9", 500_001),
        )

    def test_lets_the_price_of_cache_writes_cover_the_lifetimes_without_their_own(self) -> None:
        price = ModelPrice(input_mtok=Decimal(3), cache_write_mtok=Decimal("3.75"), cache_write_1h_mtok=Decimal(6))

        assert {item.kind: item.unit_price for item in standard_items(price)} == {
            Kind.PROMPT: Decimal(3),
            Kind.INPUT_CACHE_WRITE_5M: Decimal("3.75"),
            Kind.INPUT_CACHE_WRITE_1H: Decimal(6),
            Kind.INPUT_CACHE_WRITE: Decimal("3.75"),
        }

    def test_turns_prices_per_thousand_and_per_hour_into_ours(self) -> None:
        price = ModelPrice(requests_kcount=Decimal(5), web_searches_kcount=Decimal(10), audio_hours=Decimal("0.36"))

        assert standard_items(price) == (
            PriceItem(Kind.WEB_SEARCH, Decimal("0.01"), Unit.PER_COUNT),
            PriceItem(Kind.REQUEST, Decimal("0.005"), Unit.PER_COUNT),
            PriceItem(Kind.AUDIO_SECONDS, Decimal("0.0001"), Unit.PER_SECOND),
        )

    def test_keeps_a_service_tier_apart_from_when_it_differs(self) -> None:
        flex = PriceVariant(
            {"service_tier": "flex"}, ModelPrice(input_mtok=Decimal(1)), StartDateConstraint(date(2026, 10, 12))
        )
        same = PriceVariant({"service_tier": "default"}, ModelPrice(input_mtok=Decimal(3)))

        entry = read_model(a_model(PLAIN, price_variants=[flex, same]))

        assert entry.prices.keys() == {STANDARD, "flex"}
        assert entry.prices["flex"] == (
            DatedItems(
                datetime(2026, 10, 12, tzinfo=UTC), (per_million(Kind.PROMPT, "1"), per_million(Kind.COMPLETION, "15"))
            ),
        )

    def test_remarks_what_it_leaves_out(self) -> None:
        price = ModelPrice(input_mtok=Decimal(3), storage_searches_kcount=Decimal("2.5"))
        batch = PriceVariant({"processing": "batch"}, ModelPrice(input_mtok=Decimal(1)))

        entry = read_model(a_model(price, price_variants=[batch]))

        assert entry.remarks == (
            "prices for processing batch are left out: they are no service tier",
            "storage_searches_kcount is left out: searches in stored files are not metered",
        )

    def test_calls_a_model_by_the_first_name_the_list_spells_out(self) -> None:
        named = ClauseOr(or_=[ClauseStartsWith(starts_with="x"), ClauseEquals(equals="accounts/acme/large")])

        assert read_model(a_model(PLAIN, match=named)).upstream_model == "accounts/acme/large"

    @pytest.mark.parametrize(
        ("price", "why"),
        [
            (ModelPrice(), "no price of it"),
            (ModelPrice(input_mchars=Decimal(15)), "input_mchars prices what is not metered"),
            (ModelPrice(input_mtok=Decimal("0.0833333333333333")), "at most 6 decimals"),
            (ModelPrice(audio_hours=Decimal(1)), "no exact price a second"),
            (ModelPrice(audio_hours=Decimal("0.36"), input_audio_hours=Decimal("0.72")), "two prices of audio_seconds"),
            (ModelPrice(output_mtok=Decimal(1)), "at least prompt tokens"),
        ],
    )
    def test_says_why_a_price_cannot_be_brought_in(self, price: ModelPrice, why: str) -> None:
        assert why in reason(a_model(price))

    def test_does_not_bring_in_a_price_that_depends_on_the_time_of_day(self) -> None:
        at_night = ConditionalPrice(TimeOfDateConstraint(time(0, tzinfo=UTC), time(8, tzinfo=UTC)), prices=PLAIN)

        assert "time of day" in reason(a_model([ConditionalPrice(prices=PLAIN), at_night]))

    def test_does_not_guess_a_name_from_a_pattern(self) -> None:
        assert "pattern of names" in reason(a_model(PLAIN, match=ClauseStartsWith(starts_with="huge-")))


class TestTheWholeList:
    def test_comes_out_completely(self) -> None:
        assert len(list(read(price_list))) == sum(len(provider.models) for provider in price_list)

    def test_gives_prices_that_rate_every_call(self) -> None:
        for entry in read(price_list):
            for history in entry.prices.values() if isinstance(entry, ListedModel) else ():
                for dated in history:
                    check_items(dated.items)

    @pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "x-ai"])
    @settings(max_examples=20)
    @given(prompt=st.integers(0, 600_000), cached=st.integers(0, 600_000), completion=st.integers(0, 100_000))
    def test_charges_what_the_list_itself_calculates(
        self, provider: str, prompt: int, cached: int, completion: int
    ) -> None:
        theirs = next(each for each in price_list if each.id == provider)
        ours = {entry.id: entry for entry in read([theirs]) if isinstance(entry, ListedModel)}
        now = datetime(2026, 11, 22, tzinfo=UTC)
        usage = Usage(input_tokens=prompt + cached, cache_read_tokens=cached, output_tokens=completion)
        quantities = UsageQuantities(
            {Kind.PROMPT: prompt, Kind.INPUT_CACHE_READ: cached, Kind.COMPLETION: completion, Kind.REQUEST: 1}
        )
        for model in theirs.models:
            entry = ours.get(model.id)
            if entry is None:
                continue
            in_force = [dated for dated in entry.prices[STANDARD] if dated.effective_from <= now][-1]
            charge = rate(quantities, a_price(*in_force.items))
            if charge.priced:
                assert charge.amount == model.calc_price(usage, theirs, genai_request_timestamp=now).total_price, (
                    model.id
                )
