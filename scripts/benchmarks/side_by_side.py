"""Contestants side by side: rounds in which each is measured once, in another order each time, and their medians."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks import goals, machine, proof
from scripts.benchmarks.arena import Arena, Entrant, open_arena
from scripts.benchmarks.bare import BARE
from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.commits import Commits, Pair
from scripts.benchmarks.opponents import OPPONENTS
from scripts.benchmarks.ours import DIRECT, PRICES, PROVIDER, UPSTREAM_MODEL, Tollgate
from scripts.benchmarks.progress import Told
from scripts.benchmarks.turns import quantile

from tollgate.kit.clock import SystemClock

Figures = dict[str, float]
Measure = Callable[[Arena, Entrant, float], Figures]
"""An entrant's figures of one round, each load lasting so many seconds."""

_COMMITS_RATE = 50
_TIMES = ("p50_ms", "p99_ms", "first_p50_ms", "first_p99_ms")
"""What figures begin with of which a part is the provider's."""
NAMES = ("tollgate", BARE.name, *(opponent.name for opponent in OPPONENTS))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, of whom, and how often."""

    measures: Mapping[str, Measure]
    """By their kinds."""
    contestants: Sequence[str]
    rounds: int
    seconds: float


@dataclass(slots=True)
class _Found:
    """The figures of every round, by who they are of."""

    rounds: dict[str, list[Figures]] = field(default_factory=lambda: defaultdict(list))
    commits: list[Figures] = field(default_factory=list)


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and hold Tollgate's ledger against what was really served.

    Raises:
        BenchFailed: the ledger is wrong.
    """
    tollgate, found = Tollgate(), _Found()
    everybody = {each.name: each for each in (tollgate.contestant, BARE, *OPPONENTS)}
    contestants = [DIRECT, *(everybody[name] for name in plan.contestants)]
    busy_before = machine.busy_share(1)
    with ExitStack() as stack:
        stack.enter_context(machine.pinned(machine.OTHER_CPUS))
        progress = stack.enter_context(Told())
        starting = progress.begin(f"Starting {', '.join(each.name for each in contestants[1:])}")
        commits = stack.enter_context(Commits())
        arena = stack.enter_context(open_arena(contestants, Behaviour()))
        progress.remove_task(starting)
        task = progress.begin("Measuring", plan.rounds * len(contestants))
        for entrants in arena.rounds(plan.rounds):
            one: dict[str, Figures] = {}
            for entrant in entrants:
                one[entrant.name] = {}
                for measure in plan.measures.values():
                    one[entrant.name] |= measure(arena, entrant, plan.seconds)
                progress.step(task)
            for name, measured in one.items():
                found.rounds[name].append(measured | added(measured, one[DIRECT.name]))
            found.commits.append(_taken(commits.pairs(plan.seconds, _COMMITS_RATE)))
        ledger = _proved(tollgate, arena)
    told = [_told(entrant, found.rounds[entrant.name]) for entrant in arena.entrants]
    figures: dict[str, Figures] = {each["name"]: each["figures"] for each in told}
    bare_commits = medians(found.commits)
    return {
        "kinds": [*plan.measures],
        "at": SystemClock().now().isoformat(timespec="seconds"),
        "machine": machine.described(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "busy_before": round(busy_before, 2),
        "busy_meanwhile": round(arena.busiest, 2),
        "commits": bare_commits,
        "ledger": ledger,
        "goals": goals.looked_at([*plan.measures], figures, bare_commits),
        "contestants": told,
    }


def _taken(pairs: Sequence[Pair]) -> Figures:
    """What one bare commit takes, and what two do."""
    return {
        f"{name}_p{percent}_ms": quantile(taken, percent / 100)
        for name, taken in zip(Pair._fields, zip(*pairs, strict=True), strict=True)
        for percent in (50, 99)
    }


def _proved(tollgate: Tollgate, arena: Arena) -> dict[str, Any] | None:
    """What Tollgate's ledger has, if Tollgate takes part."""
    for entrant in arena.entrants:
        if entrant.name == tollgate.contestant.name and tollgate.group is not None:
            ours = [each for each in arena.provider.provided() if each.model == UPSTREAM_MODEL]
            ledger = proof.ledger(tollgate.group)
            ledger.check(entrant.told, ours, {PROVIDER: PRICES})
            return {"recorded": len(ledger.records), "amount": str(ledger.amount.normalize())}
    return None


def _told(entrant: Entrant, rounds: Sequence[Figures]) -> dict[str, Any]:
    return {
        "name": entrant.name,
        "version": entrant.contestant.version,
        "records": entrant.contestant.records,
        "absent": entrant.absent,
        "answered": entrant.answered,
        "failed": entrant.failed,
        "figures": medians(rounds),
        "rounds": rounds,
        "notes": entrant.notes,
    }


def added(figures: Figures, direct: Figures) -> Figures:
    """How much later than without a gateway, in the same round."""
    return {
        f"added_{name}": figure - direct[name]
        for name, figure in figures.items()
        if name.startswith(_TIMES) and name in direct
    }


def medians(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """Of each figure, over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: round(statistics.median(one[name] for one in rounds if name in one), 4) for name in names}
