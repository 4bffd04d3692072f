"""Quantities are counted in kinds that do not overlap, so that they add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit.tokens import BASE_KIND, COMPLETION_KINDS, PROMPT_KINDS, TOKEN_KINDS, Kind, UsageQuantities

counts = st.dictionaries(st.sampled_from(Kind), st.integers(min_value=0, max_value=10**9))
usages = counts.map(UsageQuantities)


def test_every_token_is_read_or_written_and_never_both() -> None:
    assert frozenset() == PROMPT_KINDS & COMPLETION_KINDS
    assert PROMPT_KINDS | COMPLETION_KINDS == TOKEN_KINDS


def test_a_kind_falls_back_on_its_own_side_and_in_one_step() -> None:
    for kind, fallback in BASE_KIND.items():
        assert (kind in PROMPT_KINDS) == (fallback in PROMPT_KINDS)
        assert fallback not in BASE_KIND


def test_every_token_kind_has_a_price_to_fall_back_on() -> None:
    assert BASE_KIND.keys() | {Kind.PROMPT, Kind.COMPLETION} == TOKEN_KINDS


@given(usages)
def test_the_sides_add_up_to_all_tokens(usage: UsageQuantities) -> None:
    assert usage.prompt_tokens + usage.completion_tokens == sum(count for kind, count in usage if kind in TOKEN_KINDS)


@given(usages, usages)
def test_a_sum_counts_every_kind_of_both(one: UsageQuantities, other: UsageQuantities) -> None:
    assert all((one + other)[kind] == one[kind] + other[kind] for kind in Kind)
    assert (one + other).prompt_tokens == one.prompt_tokens + other.prompt_tokens


@given(usages, usages, usages)
def test_the_order_of_adding_does_not_matter(
    one: UsageQuantities, other: UsageQuantities, third: UsageQuantities
) -> None:
    assert dict((one + other) + third) == dict(third + (other + one))


@given(usages)
def test_the_kinds_that_were_used_come_in_one_order(usage: UsageQuantities) -> None:
    listed = list(usage)
    assert [kind for kind, _ in listed] == [kind for kind in Kind if usage[kind]]
    assert all(count > 0 for _, count in listed)


def test_a_count_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt is -1"):
        UsageQuantities({Kind.PROMPT: -1})


def test_a_kind_that_was_not_used_counts_nothing() -> None:
    assert UsageQuantities()[Kind.COMPLETION] == 0
    assert list(UsageQuantities({Kind.PROMPT: 0})) == []
