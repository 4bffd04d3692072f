"""What holds of rating for every price and every usage."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.builders import a_price

from tollgate.kit.tokens import BASE_KIND, COMPLETION_KINDS, PROMPT_KINDS, Kind, UsageQuantities
from tollgate.pricing.model import PriceItem, PriceVersion
from tollgate.pricing.rules import affordable_completion_tokens, amount_of, check_items, rate, unit_of, worst_case

unit_prices = st.decimals(min_value=0, max_value=1_000, places=6)
counts = st.integers(min_value=0, max_value=2_000_000)
usages = st.dictionaries(st.sampled_from(Kind), counts).map(UsageQuantities)
boundaries = st.lists(st.integers(min_value=1, max_value=400_000), unique=True, max_size=3).map(sorted)


@st.composite
def items_of(draw: st.DrawFn, kind: Kind, cuts: list[int]) -> list[PriceItem]:
    starts = [0, *cuts]
    ends = [*cuts, None]
    return [PriceItem(kind, draw(unit_prices), unit_of(kind), *tier) for tier in zip(starts, ends, strict=True)]


@st.composite
def prices(draw: st.DrawFn, cuts: st.SearchStrategy[list[int]] = boundaries) -> PriceVersion:
    kinds = {Kind.PROMPT, Kind.COMPLETION} | draw(st.sets(st.sampled_from(Kind)))
    items = [item for kind in sorted(kinds) for item in draw(items_of(kind, draw(cuts)))]
    check_items(items)
    return a_price(*items)


untiered_prices = prices(st.just([]))


@given(usages, usages, untiered_prices)
def test_rating_a_sum_equals_summing_the_ratings(
    one: UsageQuantities, other: UsageQuantities, price: PriceVersion
) -> None:
    assert rate(one + other, price).amount == rate(one, price).amount + rate(other, price).amount


@given(usages, prices())
def test_the_items_sum_to_the_amount_in_the_order_of_kinds(usage: UsageQuantities, price: PriceVersion) -> None:
    charge = rate(usage, price)

    assert sum((item.amount for item in charge.items), Decimal(0)) == charge.amount
    assert [item.kind for item in charge.items] == [
        kind for kind in Kind if kind in {item.kind for item in charge.items}
    ]


@given(usages, prices())
def test_what_a_price_keeps_ready_charges_what_its_items_say_to_the_digit(
    usage: UsageQuantities, price: PriceVersion
) -> None:
    covering = {item.kind: item for item in price.items if item.covers(usage.prompt_tokens)}
    charge = rate(usage, price)

    for charged in charge.items:
        item = covering.get(charged.kind) or covering[BASE_KIND[charged.kind]]
        assert (charged.unit, charged.unit_price) == (item.unit, item.unit_price)
        assert str(charged.amount) == str(amount_of(charged.quantity, item.unit_price, item.unit))
    assert charge.tier == max(item.prompt_tokens_from for item in covering.values())


@given(counts, counts, prices())
def test_the_worst_case_is_that_of_the_dearest_item_that_can_be_reached(
    prompt: int, completion: int, price: PriceVersion
) -> None:
    reached = [item for item in price.items if item.prompt_tokens_from <= prompt]
    dearest = {
        name: max((item.unit_price for item in reached if item.kind in kinds), default=Decimal(0))
        for name, kinds in (("input", PROMPT_KINDS), ("output", COMPLETION_KINDS), ("request", {Kind.REQUEST}))
    }
    tokens = dearest["input"] * prompt + dearest["output"] * completion
    assert worst_case(prompt, completion, price) == tokens / 1_000_000 + dearest["request"]


@given(usages, prices())
def test_every_used_kind_is_charged_or_named_as_unpriced(usage: UsageQuantities, price: PriceVersion) -> None:
    charge = rate(usage, price)
    charged = {item.kind: item.quantity for item in charge.items} | {kind: usage[kind] for kind in charge.unpriced}

    assert charged | {Kind.REQUEST: 0} == dict(usage) | {Kind.REQUEST: 0}


@given(usages, prices())
def test_an_amount_has_at_most_twelve_decimals(usage: UsageQuantities, price: PriceVersion) -> None:
    amount = rate(usage, price).amount

    assert amount == amount.quantize(Decimal("1e-12"))


@given(st.sampled_from(sorted(BASE_KIND)), counts, st.data())
def test_a_sub_kind_without_a_price_costs_what_its_base_kind_does(kind: Kind, count: int, data: st.DataObject) -> None:
    price = data.draw(untiered_prices)
    plain = a_price(*(item for item in price.items if item.kind not in BASE_KIND))

    as_sub_kind = rate(UsageQuantities({kind: count}), plain)
    as_base_kind = rate(UsageQuantities({BASE_KIND[kind]: count}), plain)

    assert as_sub_kind.amount == as_base_kind.amount
    assert as_sub_kind.priced


@given(usages, prices())
def test_the_tier_is_the_last_one_that_begins_at_or_below_the_prompt_tokens(
    usage: UsageQuantities, price: PriceVersion
) -> None:
    begun = {item.prompt_tokens_from for item in price.items if item.prompt_tokens_from <= usage.prompt_tokens}

    assert rate(usage, price).tier == max(begun)


@given(usages, prices())
def test_rating_again_gives_the_identical_charge(usage: UsageQuantities, price: PriceVersion) -> None:
    assert repr(rate(usage, price)) == repr(rate(UsageQuantities(dict(usage.counts)), price))


@given(usages, prices())
def test_no_call_of_tokens_costs_more_than_its_worst_case(usage: UsageQuantities, price: PriceVersion) -> None:
    tokens = {kind: count for kind, count in usage if kind in PROMPT_KINDS | COMPLETION_KINDS}
    call = UsageQuantities(tokens | {Kind.REQUEST: 1})

    assert rate(call, price).amount <= worst_case(call.prompt_tokens, call.completion_tokens, price)


@given(counts, counts, counts, prices())
def test_a_longer_call_never_has_a_smaller_worst_case(
    prompt: int, completion: int, more: int, price: PriceVersion
) -> None:
    assert worst_case(prompt, completion, price) <= worst_case(prompt + more, completion, price)
    assert worst_case(prompt, completion, price) <= worst_case(prompt, completion + more, price)


@given(st.decimals(min_value=0, max_value=10_000, places=12), counts, prices())
def test_affordable_tokens_fit_the_budget_and_one_more_does_not(
    budget: Decimal, prompt: int, price: PriceVersion
) -> None:
    affordable = affordable_completion_tokens(budget, prompt, price)

    if affordable is None:
        assert worst_case(prompt, 10**9, price) == worst_case(prompt, 0, price) <= budget
    elif affordable < 0:
        assert affordable == -1
        assert worst_case(prompt, 0, price) > budget
    else:
        assert worst_case(prompt, affordable, price) <= budget < worst_case(prompt, affordable + 1, price)
