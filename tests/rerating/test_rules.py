"""Re-rating is additive: stretches tile their window, and what is set right is the last word on every record."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pricing.builders import a_price, an_adjustment, per_million, tiers

from tollgate.invoices.model import Month
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import EndpointId, OrganizationId, RerateId
from tollgate.kit.period import QUARTER_HOUR, Period, quarter_hour
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import STANDARD, PriceItem, PriceVersion
from tollgate.pricing.rules import adjusted, rate
from tollgate.rerating import rules
from tollgate.rerating.model import Key, Layer, MonthResult, Question, Rerate, RerateState, Result, Sum, Tally, Terms

OWNER = OrganizationId(UUID(int=7))
BEGIN = datetime(2026, 10, 30, tzinfo=UTC)
WINDOW = Period(BEGIN, BEGIN + timedelta(days=4))
KATHMANDU = ZoneInfo("Asia/Kathmandu")
PRICE = a_price(per_million(Kind.PROMPT, "1"), per_million(Kind.COMPLETION, "2"))

FEW = settings(max_examples=25)

minutes = st.integers(0, 4 * 24 * 60).map(lambda count: BEGIN + timedelta(minutes=count))
windows = st.tuples(minutes, minutes).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: Period(*ends))
unit_prices = st.integers(0, 10**7).map(lambda millionths: str(Decimal(millionths).scaleb(-6)))
item_lists = st.builds(
    lambda below, above, out: (*tiers(Kind.PROMPT, below, above, boundary=100), per_million(Kind.COMPLETION, out)),
    unit_prices,
    unit_prices,
    unit_prices,
)
used = st.builds(
    lambda prompt, output: UsageQuantities({Kind.PROMPT: prompt, Kind.COMPLETION: output, Kind.REQUEST: 1}),
    st.integers(0, 300),
    st.integers(0, 300),
)
calls = st.lists(st.tuples(minutes.filter(lambda at: at < WINDOW.end), used), max_size=12)


def terms(items: Sequence[PriceItem], window: Period = WINDOW, owner: OrganizationId | None = None) -> Terms:
    return Terms(EndpointId(UUID(int=1)), "acme/one", "acme", STANDARD, owner, window, tuple(items), "a mistake")


def layer(items: Sequence[PriceItem], window: Period = WINDOW, *, cut: int = 1, own: bool = False) -> Layer:
    return Layer(RerateId(UUID(int=cut)), window, cut, own, tuple(items))


def changed(
    asked: Terms, layers: Sequence[Layer], made: Sequence[tuple[datetime, UsageQuantities]], price: PriceVersion = PRICE
) -> tuple[Decimal, Decimal]:
    """What the calls cost as things stand, and at the prices that are asked about."""
    edges = rules.edges_of(asked.window, layers, KATHMANDU)
    question = Question(OWNER, asked, 9, tuple(layers), edges, rules.steps_of(asked.items, layers), {price.id: price})
    sums: dict[Key, Sum] = {}
    for at, quantities in made:
        if at in asked.window:
            piece = len([edge for edge in edges if edge <= at])
            step = max(step for step in question.steps if step <= quantities.prompt_tokens)
            key = Key(price.id, piece, 0, step)
            one = Sum(quantities, rate(quantities, price).amount)
            sums[key] = sums[key] + one if key in sums else one
    answer = rules.answer(question, sums, spared=0, zone=KATHMANDU)
    effects = answer.months.values()
    return sum((each.amount for each in effects), Decimal(0)), sum((each.new_amount for each in effects), Decimal(0))


@FEW
@given(windows, st.lists(minutes, max_size=6), st.integers(1, 300))
def test_stretches_tile_their_window_and_whole_ones_are_of_quarter_hours(
    window: Period, edges: list[datetime], quarters: int
) -> None:
    size = quarters * QUARTER_HOUR

    found = list(rules.stretches(window, edges, size))

    at = window.start
    for stretch in found:
        assert stretch.period.start == at < stretch.period.end
        at = stretch.period.end
        ends = (stretch.period.start, stretch.period.end)
        if stretch.whole:
            assert all(end == quarter_hour(end) for end in ends)
            assert stretch.period.end - stretch.period.start <= size
            within = [edge for edge in edges if stretch.period.start < edge < stretch.period.end]
            assert all(edge == quarter_hour(edge) for edge in within)
        else:
            assert quarter_hour(ends[0]) == quarter_hour(ends[1] - timedelta(microseconds=1))
    assert at == window.end


@FEW
@given(calls, item_lists, item_lists, windows)
def test_the_last_price_is_what_calls_cost_as_things_stand(
    made: list[tuple[datetime, UsageQuantities]],
    first: tuple[PriceItem, ...],
    second: tuple[PriceItem, ...],
    window: Period,
) -> None:
    layers = [layer(first, cut=1), layer(second, window, cut=2)]

    stands, _ = changed(terms(PRICE.items), layers, made)
    same, at_second = changed(terms(second, window), layers, made)

    expected = Decimal(0)
    for at, quantities in made:
        expected += rate(quantities, a_price(*(second if at in window else first))).amount
    assert stands == expected
    assert same == at_second


@FEW
@given(calls, item_lists, minutes.filter(lambda at: BEGIN < at < WINDOW.end))
def test_it_is_additive_over_a_split(
    made: list[tuple[datetime, UsageQuantities]], items: tuple[PriceItem, ...], at: datetime
) -> None:
    whole = changed(terms(items), [], made)
    parts = [changed(terms(items, part), [], made) for part in (Period(BEGIN, at), Period(at, WINDOW.end))]

    assert whole == tuple(sum(amounts) for amounts in zip(*parts, strict=True))


@FEW
@given(calls, item_lists, item_lists)
def test_a_general_price_leaves_an_own_one_alone(
    made: list[tuple[datetime, UsageQuantities]], own: tuple[PriceItem, ...], general: tuple[PriceItem, ...]
) -> None:
    layers = [layer(own, cut=1, own=True), layer(general, cut=2)]

    assert changed(terms(general), layers, made) == (Decimal(0), Decimal(0))
    assert changed(terms(own, owner=OWNER), layers, made)[0] == changed(terms(own, owner=OWNER), [], made)[1]


@FEW
@given(calls, item_lists, st.integers(-100, 100))
def test_discounts_and_markups_adjust_the_corrected_price(
    made: list[tuple[datetime, UsageQuantities]], items: tuple[PriceItem, ...], percent: int
) -> None:
    adjustment = an_adjustment(str(percent))
    charged_by = adjusted(PRICE, adjustment)

    _, new_amount = changed(terms(items), [], made, charged_by)

    expected = adjusted(replace(PRICE, items=items), adjustment)
    assert new_amount == sum((rate(quantities, expected).amount for _, quantities in made), Decimal(0))


def test_pieces_begin_with_months_of_the_zone() -> None:
    midnight = datetime(2026, 10, 31, 18, 15, tzinfo=UTC)  # 5:45 before UTC

    assert rules.edges_of(WINDOW, [], KATHMANDU) == (BEGIN, midnight, WINDOW.end)


def test_records_after_a_layers_cut_are_not_touched_by_it() -> None:
    free = (per_million(Kind.PROMPT, "0"), per_million(Kind.COMPLETION, "0"))
    layers = (layer(free, cut=3),)
    question = Question(OWNER, terms(PRICE.items), 9, layers, (WINDOW.start, WINDOW.end), (0,), {PRICE.id: PRICE})
    one = Sum(UsageQuantities({Kind.PROMPT: 1_000_000, Kind.REQUEST: 1}), Decimal(1))

    answers = [rules.answer(question, {Key(PRICE.id, 1, n, 0): one}, spared=0, zone=KATHMANDU) for n in (0, 1)]

    assert [next(iter(each.months.values())).amount for each in answers] == [0, 1]


def a_result(new_amount: str) -> Result:
    return Result(OWNER, RerateId(UUID(int=3)), 1, BEGIN, 1, 0, Decimal(1), Decimal(new_amount), (), frozenset(), ())


def months(count: int) -> list[MonthResult]:
    names = [Month(2026, number) for number in range(1, count + 1)]
    return [MonthResult(month, 1, Decimal(1), Decimal(2), None) for month in names]


@pytest.mark.parametrize(("count", "named"), [(1, "2026-01"), (2, "2026-01, 2026-02"), (4, "2026-01 to 2026-04")])
def test_the_adjustment_names_reason_and_months(count: int, named: str) -> None:
    order = rules.order(terms(PRICE.items), a_result("3"), months(count))

    assert order is not None
    assert (order.amount, order.reason) == (Decimal(-2), f"a mistake (acme/one at acme, {named})")


def test_no_difference_takes_no_adjustment() -> None:
    assert rules.order(terms(PRICE.items), a_result("1.00"), months(1)) is None


@pytest.mark.parametrize("end", [WINDOW.start, WINDOW.end + timedelta(seconds=1)])
def test_a_window_is_of_the_past(end: datetime) -> None:
    with pytest.raises(InvalidRequest):
        rules.check_window(Period(WINDOW.start, end), WINDOW.end)


def test_what_lacks_a_price_cannot_be_applied() -> None:
    measured = Rerate(RerateId(UUID(int=3)), 1, terms(PRICE.items), RerateState.MEASURED, BEGIN, None)
    tally = Tally(1, 1, 0, 1, 0, Decimal(0), Decimal(0), frozenset({Kind.IMAGE, Kind.WEB_SEARCH}))

    with pytest.raises(Conflict, match="used web_search, image") as refusal:
        rules.check_may_apply(measured, tally)
    assert refusal.value.field == "items"


@pytest.mark.parametrize("live", [None, PRICE, a_price(per_million(Kind.PROMPT, "9"))])
def test_a_warning_tells_if_the_price_in_force_is_another(live: PriceVersion | None) -> None:
    assert (rules.warnings(terms(PRICE.items), live) == []) is (live is PRICE)


def test_sums_fit_where_no_step_cuts_the_tier() -> None:
    tiered = a_price(*tiers(Kind.PROMPT, "1", "2", boundary=100))

    assert rules.fits(0, tiered, (0, 100, 200))
    assert not rules.fits(0, tiered, (0, 50))
    assert not rules.fits(100, tiered, (0, 200))
