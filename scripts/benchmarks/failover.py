"""One model at four providers, of which some suffer: who is answered all the same, how much later, and at what cost.

Faults begin between calls: what a provider breaks off once the caller has part of the answer, no other can go on with.
"""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import click
from rich.table import Table
from scripts.benchmarks import machine, proof, tables
from scripts.benchmarks.behaviour import Behaviour, Fault
from scripts.benchmarks.callers import Called, Callers
from scripts.benchmarks.group import BenchFailed, Group, grant, running
from scripts.benchmarks.progress import Told
from scripts.benchmarks.provided import Provider, providing
from scripts.benchmarks.traffic import Streak
from scripts.benchmarks.turns import quantile

_GOAL_PERCENT = 99.99
_MODEL = "bench/model"
_NAMES = ("first", "second", "third", "fourth")
"""Of the providers, the cheapest first."""
_PRICES = dict(zip(_NAMES, ("1", "10", "20", "40"), strict=True))
"""US dollars a million tokens, so far apart that no record of failures makes another one count as the cheapest."""
_SLOW_MS = 400
_TIMEOUT_SECONDS = 1
_SUFFERING_SHARE = 0.25
"""Of the calls, for while faults last; the others are for recoveries, which take as long as they take."""
_BACK_CALLS = 32
"""So many calls in a row that the cheapest serves show that every process knows it has recovered."""
_BACK_SECONDS_MAX = 60
_WARM_TRIES = 20
_TOLD_MAX = 10
_WIDTH = 120
_MEANINGS = (
    "calls: those that were due while the fault lasted, and those after it until the cheapest served all again.",
    "hit: calls, while it lasted, of which an attempt failed; the others went elsewhere at once, or met no fault.",
    "first: how long the first call took that was hit: what it costs to find out.",
    "later by: how much longer calls that were hit took (p50) than calls while all were healthy.",
    "back after: how long after the fault was over a call still went elsewhere.",
    "p50, p99, max: of all calls while it lasted, from when each was due, whether it was hit or not.",
    f"Endpoints have {_TIMEOUT_SECONDS} s to begin, and to go on. A slow one needs {_SLOW_MS} ms, so none fails over.",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """Who suffers from what for a while."""

    name: str
    behaviours: Sequence[Behaviour]
    """Of the cheapest, and of those that follow; the others are well."""


_EVENTS = 20
_WELL = Behaviour(events=_EVENTS)
_SUFFERED = (
    Fault.REFUSED, Fault.DEAD, Fault.HANG, Fault.HANG_IN_BODY, Fault.LIMITED, Fault.STORM, Fault.GARBAGE
)  # fmt: skip
"""By the cheapest alone. `CUT` is not among them: what is broken off, no other provider can go on with."""


def _suffering(fault: Fault) -> Behaviour:
    return Behaviour(events=_EVENTS, fault=fault)


PHASES = (
    *(Phase(fault.value, [_suffering(fault)]) for fault in _SUFFERED),
    Phase("slow", [Behaviour(events=_EVENTS, first_ms=_SLOW_MS)]),
    Phase("three-of-four", [_suffering(fault) for fault in (Fault.HANG, Fault.STORM, Fault.REFUSED)]),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what to do."""

    phases: Sequence[Phase]
    rounds: int
    calls: int
    """At most, in each round."""
    rate: int
    connections: int

    @property
    def calls_each(self) -> int:
        """While a fault lasts; half as many before each."""
        return max(2, int(self.calls * _SUFFERING_SHARE) // len(self.phases))


@dataclass(frozen=True, slots=True)
class Passage:
    """A phase that is over: the calls while the fault lasted, those that waited for the recovery, and how long."""

    phase: Phase
    suffered: Sequence[Called]
    recovering: Sequence[Called]
    back_seconds: float


@dataclass(slots=True)
class Round:
    """Every phase once, and the calls between them, while all were healthy."""

    healthy: list[Called] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)


@click.command(short_help="A model at four providers, of which some suffer.")
@click.option("--rounds", type=click.IntRange(1, 20), default=1, show_default=True, help="Of each fault.")
@click.option(
    "--calls", type=click.IntRange(100, 100_000), default=10_000, show_default=True, help="At most, each round."
)
@click.option("--rate", type=click.IntRange(1, 1_000), default=110, show_default=True, help="Calls a second.")
@click.option(
    "--connections", type=click.IntRange(1, 1024), default=256, show_default=True, help="So many calls at once at most."
)
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Gateway processes.")
@click.option(
    "--fault",
    "faults",
    type=click.Choice([phase.name for phase in PHASES]),
    multiple=True,
    help="Only this one; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def failover(*, workers: int, faults: Sequence[str], as_json: bool, **shape: Any) -> None:
    """Calls of a model at four providers, while the cheapest one, or three of them, suffer one fault after the other.

    Ends with an error if more than one call in 10,000 is not answered though a provider is well, or if not every call
    is recorded once, served once by whom its record says, and charged that one's price, once.
    """
    plan = Plan(phases=[phase for phase in PHASES if not faults or phase.name in faults], **shape)
    everybody, others = [_WELL] * len(_NAMES), machine.Others()
    with providing(*everybody) as provider, running(workers, TOLLGATE_ALLOW_PRIVATE_UPSTREAMS="1") as group:
        _offer(group, provider)
        with Callers(group, _MODEL, connections=plan.connections, rate=plan.rate) as callers:
            warm = _warm(callers, plan)
            rounds = _rounds(plan, callers, provider, others)
        recorded, provided = proof.ledger(group), [*provider.provided()]
    measured = [call for one in rounds for call in _calls_of(one)]
    told = [call.told for call in (*warm, *measured)]
    failed = {record.user or "": record.failed for record in recorded.records.values()}
    result = {"workers": workers, "rate": plan.rate, "connections": plan.connections} | _result(rounds, failed)
    result |= others.told
    result["records"] = {
        "calls": len(recorded.records),
        "amount": str(recorded.amount.normalize()),
        "to_warm_up": len(warm),
        "unused": proof.unused(told, provided),
    }
    click.echo(json.dumps(result)) if as_json else _show(result)
    prices = {name: dict.fromkeys(("prompt", "completion"), Decimal(price)) for name, price in _PRICES.items()}
    recorded.check(told, provided, prices)
    _judge(rounds)


def _offer(group: Group, provider: Provider) -> None:
    """The model, at every provider."""

    def admin(path: str, body: dict[str, Any]) -> None:
        group.post(f"/admin{path}", body, key=group.operator_key)

    grant(group)
    admin("/models", {"slug": _MODEL, "name": "Model"})
    timeouts = {f"{name}_seconds": _TIMEOUT_SECONDS for name in ("connect", "first_byte", "idle")}
    for name, url in zip(_NAMES, provider.base_urls, strict=True):
        admin("/providers", {"slug": name, "name": name, "format": "openai_compatible", "base_url": url})
        admin("/endpoints", {"model": _MODEL, "provider": name, "timeouts": timeouts})
        unit = {"price": _PRICES[name], "unit": "per_million_tokens"}
        items = [{"kind": kind, **unit} for kind in ("prompt", "completion")]
        admin("/prices", {"model": _MODEL, "provider": name, "items": items})


def _warm(callers: Callers, plan: Plan) -> list[Called]:
    """Calls over every connection, until every process knows the model and its cheapest endpoint."""
    made: list[Called] = []
    for _ in range(_WARM_TRIES):
        latest = callers.make(plan.connections)
        made += latest
        if all(call.provider == _NAMES[0] for call in latest):
            return made
    raise BenchFailed(f"Calls are not served by the cheapest endpoint, though all are well: {made[-1]}")


def _rounds(plan: Plan, callers: Callers, provider: Provider, others: machine.Others) -> list[Round]:
    with Told() as progress, others.watched() as look:
        task = progress.begin("Measuring", plan.rounds * (len(plan.phases) + 1))

        def done() -> None:
            look()
            progress.step(task)

        return [_round(plan, callers, provider, done) for _ in range(plan.rounds)]


def _round(plan: Plan, callers: Callers, provider: Provider, done: Callable[[], None]) -> Round:
    """Every phase, with calls without faults before each of them, and what is left of the calls after the last."""
    one, before = Round(), plan.calls_each // 2
    for at, phase in enumerate(plan.phases, start=1):
        one.healthy += callers.make(before)
        provider.behave(*phase.behaviours)
        suffered = callers.make(plan.calls_each)
        provider.behave(*([_WELL] * len(phase.behaviours)))
        reserved = (before + plan.calls_each) * (len(plan.phases) - at)
        left = plan.calls - len(_calls_of(one)) - len(suffered) - reserved
        one.passages.append(_recovered(phase, suffered, callers, left))
        done()
    one.healthy += callers.make(plan.calls - len(_calls_of(one)))
    done()
    return one


def _calls_of(one: Round) -> list[Called]:
    passages = [[*passage.suffered, *passage.recovering] for passage in one.passages]
    return [*one.healthy, *(call for calls in passages for call in calls)]


def _recovered(phase: Phase, suffered: Sequence[Called], callers: Callers, calls_max: int) -> Passage:
    """The phase, once the cheapest serves again.

    Raises:
        BenchFailed: it does not.
    """
    recovered_at = time.perf_counter()
    # Calls that are still under way after the streak may have gone elsewhere: that does not undo it.
    made, is_back = callers.make_until(Streak(_NAMES[0], _BACK_CALLS), calls_max, seconds_max=_BACK_SECONDS_MAX)
    if not is_back:
        seconds = time.perf_counter() - recovered_at
        used_up = (
            "" if seconds >= _BACK_SECONDS_MAX else " The calls were used up: give more --calls, or a lower --rate."
        )
        raise BenchFailed(
            f"After {phase.name!r} the cheapest endpoint did not serve all calls again within {len(made)} calls and "
            f"{seconds:.0f} s: {Counter(call.provider or call.problem for call in made[-_BACK_CALLS:])}.{used_up}"
        )
    elsewhere = [call.told.due for call in made if call.provider != _NAMES[0]]
    return Passage(phase, suffered, made, max(elsewhere[-1] - recovered_at, 0) if elsewhere else 0)


def _result(rounds: Sequence[Round], failed: Mapping[str, int]) -> dict[str, Any]:
    calls = [call for one in rounds for call in _calls_of(one)]
    healthy = {"calls": sum(len(one.healthy) for one in rounds)} | _medians([_times(one.healthy) for one in rounds])
    phases = [
        _phase_figures([one.passages[at] for one in rounds], [one.healthy for one in rounds], failed)
        for at in range(len(rounds[0].passages))
    ]
    answered = sum(call.problem is None for call in calls)
    return {
        "rounds": len(rounds),
        "calls": len(calls),
        "answered": answered,
        "success_percent": _percent(calls),
        "goal_percent": _GOAL_PERCENT,
        "failed": [f"{call.number}: {call.problem}" for call in calls if call.problem is not None][:_TOLD_MAX],
        "healthy": healthy,
        "phases": phases,
    }


def _percent(calls: Sequence[Called]) -> float:
    return 100 * sum(call.problem is None for call in calls) / len(calls)


def _phase_figures(
    passages: Sequence[Passage], healthy: Sequence[Sequence[Called]], failed: Mapping[str, int]
) -> dict[str, Any]:
    """A phase's figures: sums over the rounds of what is counted, medians of what is timed."""
    calls = [call for passage in passages for call in (*passage.suffered, *passage.recovering)]
    hit = [[call for call in passage.suffered if failed.get(call.user, 0)] for passage in passages]
    timed = []
    for passage, well, those in zip(passages, healthy, hit, strict=True):
        times, yardstick = _times(passage.suffered), _times(well)
        added = {f"added_{name}": times[name] - yardstick[name] for name in times}
        timed.append(times | added | {"back_seconds": passage.back_seconds} | _times_of_hit(those, yardstick))
    return {
        "name": passages[0].phase.name,
        "calls": len(calls),
        "calls_while_it_lasted": sum(len(passage.suffered) for passage in passages),
        "success_percent": _percent(calls),
        "hit": sum(map(len, hit)),
        "failed_attempts": sum(failed.get(call.user, 0) for those in hit for call in those),
    } | _medians(timed)


def _times(calls: Sequence[Called]) -> dict[str, float]:
    """How long calls took, together, and those that stream and those that do not."""
    figures: dict[str, float] = {}
    for kind, wanted in (("", (False, True)), ("whole_", (False,)), ("streamed_", (True,))):
        taken = [call.told.milliseconds for call in calls if call.streamed in wanted]
        shares = {"p50": 0.5, "p99": 0.99, "max": 1}
        figures |= {f"{kind}{name}_ms": quantile(taken, share) for name, share in shares.items()}
    return figures


def _times_of_hit(hit: Sequence[Called], yardstick: dict[str, float]) -> dict[str, float]:
    """What the fault cost those that met it; nothing if nobody did."""
    if not hit:
        return {}
    added = statistics.median(call.told.milliseconds for call in hit) - yardstick["p50_ms"]
    return {"first_hit_ms": hit[0].told.milliseconds, "added_to_hit_ms": added}


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float | None]:
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: round(statistics.median(one[name] for one in rounds if name in one), 2) for name in names}


def _show(result: dict[str, Any]) -> None:
    console = tables.console(_WIDTH)
    console.print(_table_of_hits(result), _table_of_times(result))
    for meaning in _MEANINGS:
        console.print(meaning)
    records = result["records"]
    console.print(
        f"{result['answered']:,} of {result['calls']:,} calls were answered ({result['success_percent']:.3f} %; the "
        f"goal is {result['goal_percent']} %). With {records['to_warm_up']:,} to warm up, {records['calls']:,} are "
        f"recorded, for {records['amount']} USD."
    )
    click.echo("\n" + tables.busy(result))


def _table_of_hits(result: dict[str, Any]) -> Table:
    processes = tables.processes(result["workers"], "gateway")
    table = Table(title=f"Failing over: {result['rate']} calls are due each second, {processes}")
    for column in ("fault", "calls", "answered", "hit", "first, ms", "later by, ms", "back after, s"):
        table.add_column(column, justify="right")
    for phase in result["phases"]:
        first, added = (f"{phase[name]:,.0f}" if name in phase else "-" for name in ("first_hit_ms", "added_to_hit_ms"))
        lasted = phase["calls_while_it_lasted"]
        table.add_row(
            phase["name"],
            f"{lasted:,} + {phase['calls'] - lasted:,}",
            f"{phase['success_percent']:.2f} %",
            f"{phase['hit']:,} of {lasted:,}",
            first,
            added,
            f"{phase['back_seconds']:.1f}",
        )
    return table


def _table_of_times(result: dict[str, Any]) -> Table:
    medians = f"medians of {tables.rounds(result['rounds'])}"
    table = Table(title=f"Calls while it lasted (and how much longer than healthy ones), {medians}")
    for column in ("fault", "p50 ms", "p99 ms", "max ms"):
        table.add_column(column, justify="right")
    names = ("p50_ms", "p99_ms", "max_ms")
    table.add_row("none: healthy", *(f"{result['healthy'][name]:,.1f}" for name in names))
    for phase in result["phases"]:
        table.add_row(phase["name"], *(f"{phase[name]:,.1f} ({phase[f'added_{name}']:+,.1f})" for name in names))
    return table


def _judge(rounds: Sequence[Round]) -> None:
    """Enough was answered, together and in each phase.

    Raises:
        BenchFailed: it was not; which calls, in which phase, and what they got.
    """
    parts = [("healthy", one.healthy) for one in rounds]
    parts += [
        (passage.phase.name, [*passage.suffered, *passage.recovering]) for one in rounds for passage in one.passages
    ]
    short = [(name, calls) for name, calls in parts if _percent(calls) < _GOAL_PERCENT]
    if short:
        told = [f"{name}: call {c.number}: {c.problem}" for name, calls in short for c in calls if c.problem]
        raise BenchFailed(f"{len(told)} calls were not answered, though one endpoint was well: {told[:_TOLD_MAX]}")
