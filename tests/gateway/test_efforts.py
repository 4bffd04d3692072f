"""Efforts and budgets stand for each other the same way, whichever format says them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.gateway.efforts import BUDGETS, effort_of


@pytest.mark.parametrize("effort", ["none", "low", "medium", "high"])
def test_an_effort_comes_back_from_its_own_budget(effort: str) -> None:
    assert effort_of(BUDGETS[effort]) == effort


@given(st.integers(0, 200_000), st.integers(0, 200_000))
@settings(max_examples=50)
def test_more_tokens_are_never_less_of_an_effort(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert BUDGETS[effort_of(less)] <= BUDGETS[effort_of(more)]


def test_no_tokens_are_no_effort_and_many_are_no_more_than_every_model_knows() -> None:
    assert (effort_of(0), effort_of(1), effort_of(10**9)) == ("none", "low", "high")
