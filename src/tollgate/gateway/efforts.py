"""Efforts and budgets: some formats ask for thinking by a word, others by a number of tokens. Pure.

One table for all whose makers publish none of their own, so that a wish comes through the same whichever way it takes.
"""

from collections.abc import Mapping

BUDGETS: Mapping[str, int] = {
    "none": 0, "minimal": 1_024, "low": 2_048, "medium": 5_120, "high": 10_240, "xhigh": 20_480, "max": 40_960,
}  # fmt: skip
"""The tokens to think on that an effort stands for."""
_TOLD = ("none", "low", "medium")
"""What a budget is told as, besides `high`: not every model knows the other words."""


def effort_of(budget_tokens: int) -> str:
    """The least effort that stands for as many tokens; `high`, where none does."""
    return next((effort for effort in _TOLD if budget_tokens <= BUDGETS[effort]), "high")
