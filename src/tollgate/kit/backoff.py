"""How long to leave alone what failed: twice as long each time, up to a most."""

from datetime import timedelta

_DOUBLINGS_MAX = 20
"""By then a second has become twelve days."""


def doubled(first: timedelta, most: timedelta, *, times: int) -> timedelta:
    """The first wait, doubled so many times, and never more than `most`."""
    return min(first * (1 << min(max(times, 0), _DOUBLINGS_MAX)), most)
