"""What is to be reached, each goal beside the figure of a result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_Figures = Mapping[str, Mapping[str, float]]
"""By contestant."""


class NotMeasured(LookupError):
    """What was measured says nothing of a goal; the text is why."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Of one figure: the least, or the most, that it is to be."""

    kind: str
    """What has to be measured for it."""
    measure: str
    figure: Callable[[_Figures, Mapping[str, float]], float]
    """Of everybody's figures, and of one bare commit and two.

    Raises:
        LookupError: what it takes was not measured.
    """
    least: float | None = None
    most: float | None = None
    decimals: int = 0

    def looked_at(self, found: _Figures, commits: Mapping[str, float]) -> dict[str, Any]:
        """The figure, and whether it is as it is to be."""
        figure, reason = None, {}
        try:
            figure = self.figure(found, commits)
        except NotMeasured as error:
            reason = {"reason": str(error)}
        except LookupError:
            pass
        return told(self.measure, figure, least=self.least, most=self.most, decimals=self.decimals) | reason


def told(
    measure: str, figure: float | None, *, least: float | None = None, most: float | None = None, decimals: int = 0
) -> dict[str, Any]:
    """A figure beside the least, or the most, that it is to be; by how much it misses that; `None` is not measured."""
    limit = least if least is not None else most or 0
    goal = {"measure": measure, "goal": f"{'≥' if least is not None else '≤'} {limit:,g}"}
    if figure is None:
        return goal | {"figure": None, "met": False, "missed_by_percent": None}
    met = figure >= limit if least is not None else figure <= limit
    missed_by = None if met else round(abs(figure - limit) / limit * 100, 1)
    return goal | {"figure": round(figure, decimals), "met": met, "missed_by_percent": missed_by}


def _ours(name: str) -> Callable[[_Figures, Mapping[str, float]], float]:
    return lambda found, _: found["tollgate"][name]


def _times(other: str, name: str) -> Callable[[_Figures, Mapping[str, float]], float]:
    return lambda found, _: found["tollgate"][name] / found[other][name]


def _percent_of_bare(name: str) -> Callable[[_Figures, Mapping[str, float]], float]:
    return lambda found, _: 100 * found["tollgate"][name] / found["bare"][name]


def _above_two_commits(found: _Figures, commits: Mapping[str, float]) -> float:
    figure = found["tollgate"]["added_p99_ms_at_50"] - commits["two_p99_ms"]
    if figure < 0:
        raise NotMeasured("the disk was slower than the gateway")
    return figure


GOALS = (
    Goal("gateway", "calls/s on one core", _ours("calls_per_second"), least=3_000),
    Goal(
        "gateway",
        "times LiteLLM with its database",
        _times("litellm-postgres", "calls_per_second"),
        least=60,
        decimals=1,
    ),
    Goal("gateway", "times Portkey", _times("portkey", "calls_per_second"), least=3, decimals=2),
    Goal(
        "gateway",
        "percent of the bare pass-through's calls/s",
        _percent_of_bare("calls_per_second"),
        least=50,
        decimals=1,
    ),
    Goal("gateway", "gateway's CPU ms a call", _ours("cpu_ms"), most=0.33, decimals=3),
    Goal("gateway", "PostgreSQL's CPU ms a call", _ours("database_cpu_ms"), most=0.10, decimals=3),
    Goal("gateway", "added p50 ms at 50 calls/s", _ours("added_p50_ms_at_50"), most=2.5, decimals=2),
    Goal(
        "gateway",
        "added p99 ms at 50 calls/s above that of two bare commits",
        _above_two_commits,
        most=3,
        decimals=2,
    ),
    Goal("gateway", "added p50 ms at 1,000 calls/s", _ours("added_p50_ms_at_1000"), most=3, decimals=2),
    Goal(
        "streams",
        "percent of the bare pass-through's events/s, in bursts",
        _percent_of_bare("events_per_second"),
        least=85,
        decimals=1,
    ),
    Goal("streams", "added ms to the first event, p50", _ours("added_first_p50_ms"), most=2.5, decimals=2),
    Goal("streams", "gateway's CPU µs an event, spaced", _ours("cpu_us_an_event"), most=40, decimals=1),
    Goal("gateway", "MB of memory a worker, what is shared being shared out", _ours("worker_pss_mb"), most=150),
)


def looked_at(kinds: Sequence[str], found: _Figures, commits: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every goal of these kinds, if Tollgate takes part; those whose figures are missing are not met."""
    return [goal.looked_at(found, commits) for goal in GOALS if goal.kind in kinds] if found.get("tollgate") else []
