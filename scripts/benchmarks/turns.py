"""What is compared is measured in turns: rounds of two halves each, and what share of the calls took how long."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turns(
    rounds: int, first: Callable[[], T], second: Callable[[], T], *, done: Callable[[], None]
) -> list[tuple[T, T]]:
    """Each round's halves, one of each kind; which is measured first changes from round to round."""
    measured: list[tuple[T, T]] = []
    for at in range(rounds):
        if at % 2 == 0:
            one = first()
            other = second()
        else:
            other = second()
            one = first()
        measured.append((one, other))
        done()
    return measured


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; nearest rank."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
