"""A hot tenant against many: the same load on one organization's one key, and spread over many organizations.

By one group of one or more gateway processes, and by several hosts: groups of one process each on one database.

Measured end to end, by sandbox calls over HTTP, and of the meter alone, by processes that only hold and settle: the
generator, the gateway and PostgreSQL share the machine, so the first tells what a caller gets, the second what it
costs that all calls want the same rows.
"""

import asyncio
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import click
from rich.table import Table
from scripts.benchmarks import books, goals, machine, tables
from scripts.benchmarks.group import DATABASE, GATEWAY, Group, process, running
from scripts.benchmarks.load import Answered, Clients, Half, Load, Tenant
from scripts.benchmarks.meter import Meters
from scripts.benchmarks.progress import Told
from scripts.benchmarks.turns import in_turns, quantile

_HOT_PERCENT_GOAL = 80
"""What a hot tenant keeps of the throughput of the same load spread."""
_SETTLED_GOAL, _SETTLED_PROCESSES = 15_000, 4
"""Settled calls a second into one PostgreSQL, by the meters alone of so many processes."""
_USED_UP_SHARE = 0.9
_WIDTH = 130
_WARM_SECONDS_MAX = 60
_KINDS = ("hot", "spread")
_NAMES = {"end_to_end": "end to end", "meter_alone": "meter alone"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what to send."""

    rounds: int
    seconds: float
    """How long each half of a round lasts."""
    organizations: int
    connections: int
    calls: int
    """At most, in each half of a round."""

    def load(self, tenants: Sequence[Tenant]) -> Load:
        """Half of a round."""
        return Load(tenants, self.seconds, self.calls)


@dataclass(slots=True)
class _Run:
    """Everything that was answered by one group, which its books must know."""

    plan: Plan
    processes: int
    hot: Tenant
    many: Sequence[Tenant]
    answered: list[Answered]
    others: machine.Others

    def rounds(self, bear: Callable[[Load], Half], *, warm_calls: int, done: Callable[[], None]) -> dict[str, Any]:
        """The figures of alternating halves, after some that only warm up what is remembered of keys and plans."""

        def half(load: Load) -> Half:
            borne = bear(load)
            self.answered += borne.calls
            look()
            return borne

        with self.others.watched() as look:
            half(Load(self.many, _WARM_SECONDS_MAX, warm_calls))
            half(self.plan.load([self.hot]))
            done()
            hot, many = self.plan.load([self.hot]), self.plan.load(self.many)
            pairs = in_turns(self.plan.rounds, lambda: half(hot), lambda: half(many), done=done)
        return _figures(self.processes, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


@click.command(short_help="One tenant with all the load, against many.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Of two halves each: hot, spread."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=3, show_default=True, help="Of each half of a round."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 8),
    multiple=True,
    default=(1, 2, 4),
    show_default=True,
    help="Of the gateway, and then of the meter alone; may be given several times.",
)
@click.option(
    "--hosts",
    type=click.IntRange(0, 8),
    multiple=True,
    default=(2,),
    show_default=True,
    help="Groups of one process each, with directories of their own, on one database, over HTTP alone; may be given "
    "several times; 0: none.",
)
@click.option(
    "--organizations", type=click.IntRange(2, 10_000), default=1_000, show_default=True, help="To spread the load over."
)
@click.option("--connections", type=click.IntRange(1, 512), default=64, show_default=True, help="Calls at once.")
@click.option(
    "--calls", type=click.IntRange(64, 100_000), default=20_000, show_default=True, help="At most, each half."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def admission(*, processes: Sequence[int], hosts: Sequence[int], as_json: bool, **shape: Any) -> None:
    """One organization and one key with all the load, against the same load spread over many organizations.

    First calls over HTTP, end to end, then the meter alone, by processes that only hold and settle.

    Ends with an error if not every call that was answered is recorded exactly once and at its cost, or if anything
    is still held.
    """
    plan, others = Plan(**shape), machine.Others()
    groups = []
    with Told() as progress:
        for count in processes:
            task = progress.begin(_title(count), 2 * (plan.rounds + 1))
            groups.append(_measured(plan, count, others, partial(progress.step, task)))
        for count in filter(None, hosts):
            task = progress.begin(_title(count, hosts=count), plan.rounds + 1)
            groups.append(_measured_of_hosts(plan, count, others, partial(progress.step, task)))
    result = {
        "rounds": plan.rounds,
        "connections": plan.connections,
        "organizations": plan.organizations,
        "cpus": machine.CPU_COUNT,
        "goals": _goals(groups),
        "groups": groups,
    } | others.told
    click.echo(json.dumps(result)) if as_json else _show(result)


def _title(processes: int, *, hosts: int = 1) -> str:
    return tables.processes(processes) if hosts == 1 else f"{hosts} hosts"


def _measured(plan: Plan, processes: int, others: machine.Others, done: Callable[[], None]) -> dict[str, Any]:
    """Both ways of measuring, on one group of so many gateway processes."""
    with running(processes) as group:
        run = _run(plan, group, processes, others)
        end_to_end = _end_to_end(run, [group], done)
        with Meters(group, processes=processes, connections=plan.connections) as meters:
            watched = _watched(group, meters.bear, whose=())
            meter_alone = run.rounds(watched, warm_calls=plan.organizations, done=done)
        written = _checked(run, group)
    return {"processes": processes, "hosts": 1, "end_to_end": end_to_end, "meter_alone": meter_alone} | written


def _measured_of_hosts(plan: Plan, hosts: int, others: machine.Others, done: Callable[[], None]) -> dict[str, Any]:
    """End to end, on so many groups of one process each; meters alone have no host."""
    with ExitStack() as stack:
        first = stack.enter_context(running(1))
        groups = [first, *(stack.enter_context(running(1, beside=first)) for _ in range(hosts - 1))]
        run = _run(plan, first, hosts, others)
        end_to_end = _end_to_end(run, groups, done)
        written = _checked(run, first)
    return {"processes": hosts, "hosts": hosts, "end_to_end": end_to_end} | written


def _run(plan: Plan, group: Group, processes: int, others: machine.Others) -> _Run:
    hot, *many = asyncio.run(books.tenants(group, plan.organizations + 1))
    return _Run(plan, processes, hot, many, [], others)


def _end_to_end(run: _Run, groups: Sequence[Group], done: Callable[[], None]) -> dict[str, Any]:
    with Clients(groups, connections=run.plan.connections) as clients:
        watched = _watched(groups[0], clients.bear, whose=[process(group, GATEWAY) for group in groups])
        # Each process looks each key up once.
        return run.rounds(watched, warm_calls=run.plan.organizations * run.processes, done=done)


def _checked(run: _Run, group: Group) -> dict[str, Any]:
    """What the books say, which is what was answered."""
    written = asyncio.run(books.books(group))
    written.check(run.answered)
    recorded = _sums([*written.recorded.elements()])
    return {"answered": _sums(run.answered), "recorded": recorded, "holds": written.holds}


def _sums(calls: Sequence[Answered]) -> dict[str, Any]:
    return {"calls": len(calls), "cost": str(sum((call.cost for call in calls), Decimal(0)).normalize())}


def _watched(group: Group, bear: Callable[[Load], Half], *, whose: Sequence[int]) -> Callable[[Load], Half]:
    """A way to bear loads that tells what PostgreSQL took of the CPUs, and these process trees if they do not tell."""
    database = process(group, DATABASE)

    def borne(load: Load) -> Half:
        before = machine.cpu_seconds(database), sum(map(machine.cpu_seconds, whose))
        half = bear(load)
        half.database_cpu_seconds = machine.cpu_seconds(database) - before[0]
        if whose:
            half.cpu_seconds = sum(map(machine.cpu_seconds, whose)) - before[1]
        return half

    return borne


def _figures(processes: int, hot: Sequence[Half], many: Sequence[Half]) -> dict[str, Any]:
    kinds = dict(zip(_KINDS, (hot, many), strict=True))
    figures: dict[str, Any] = {kind: _figures_of(processes, halves) for kind, halves in kinds.items()}
    ratio = figures["hot"]["calls_per_second"] / figures["spread"]["calls_per_second"]
    return figures | {"percent": round(100 * ratio, 1)}


def _figures_of(processes: int, halves: Sequence[Half]) -> dict[str, Any]:
    def median(figure: Callable[[Half], float]) -> float:
        return statistics.median(map(figure, halves))

    cpus = {
        "processes": median(lambda half: half.cpu_seconds / half.seconds),
        "database": median(lambda half: half.database_cpu_seconds / half.seconds),
        "generator": median(lambda half: half.generator_cpu_seconds / half.seconds),
    }
    return {
        "calls_per_second": round(median(lambda half: half.calls_per_second)),
        "p50_ms": round(median(lambda half: quantile(half.milliseconds, 0.5)), 2),
        "p99_ms": round(median(lambda half: quantile(half.milliseconds, 0.99)), 2),
        "calls": sum(len(half.calls) for half in halves),
        "cpu_ms": round(median(lambda half: 1000 * half.cpu_seconds / len(half.calls)), 3),
        "database_cpu_ms": round(median(lambda half: 1000 * half.database_cpu_seconds / len(half.calls)), 3),
        "cpu_percent": {who: round(100 * taken / machine.CPU_COUNT, 1) for who, taken in cpus.items()},
        "used_up": _used_up(processes, cpus),
    }


def _used_up(processes: int, cpus: Mapping[str, float]) -> str:
    """Whose CPU there was no more of."""
    if sum(cpus.values()) >= _USED_UP_SHARE * machine.CPU_COUNT:
        return "the machine's CPUs"
    if cpus["processes"] >= _USED_UP_SHARE * processes:
        return "one CPU for each process"
    return "the generator's CPU" if cpus["generator"] >= _USED_UP_SHARE else "nobody's CPU"


def _goals(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    settled = [
        group["meter_alone"]["spread"]["calls_per_second"]
        for group in groups
        if group["processes"] == _SETTLED_PROCESSES and group["hosts"] == 1
    ]
    measure = f"settled calls/s, {_title(_SETTLED_PROCESSES)}, meter alone, spread"
    return [
        goals.told(measure, settled[0] if settled else None, least=_SETTLED_GOAL),
        *(
            goals.told(
                f"hot tenant, percent of the spread load's calls/s, {_named(group)}, {name}",
                group[way]["percent"],
                least=_HOT_PERCENT_GOAL,
                decimals=1,
            )
            for group in groups
            for way, name in _ways(group)
        ),
    ]


def _ways(group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How it was measured, and what that is called."""
    return ((way, name) for way, name in _NAMES.items() if way in group)


def _named(group: Mapping[str, Any]) -> str:
    return _title(group["processes"], hosts=group["hosts"])


def _show(result: dict[str, Any]) -> None:
    console = tables.console(_WIDTH)
    console.print(_table(result))
    for group in result["groups"]:
        for way, name in _ways(group):
            for kind in _KINDS:
                figures = group[way][kind]
                percent = figures["cpu_percent"]
                console.print(
                    f"{_named(group)}, {name}, {kind}: of the machine's {result['cpus']} CPUs PostgreSQL "
                    f"took {percent['database']:.0f} %, the processes {percent['processes']:.0f} %, the generator "
                    f"{percent['generator']:.0f} %; used up: {figures['used_up']}."
                )
    for group in result["groups"]:
        answered, recorded = group["answered"]["calls"], group["recorded"]
        console.print(
            f"{_named(group)}: {answered:,} calls answered, {recorded['calls']:,} recorded, "
            f"for {recorded['cost']} USD; nothing is held."
        )
    click.echo("\n" + tables.busy(result))
    click.echo("\n" + tables.goals(result["goals"]), nl=False)


def _table(result: Mapping[str, Any]) -> Table:
    connections, organizations = result["connections"], result["organizations"]
    table = Table(
        title=f"Settled calls per second, medians of {tables.rounds(result['rounds'])}, {connections} calls at once:\n"
        f"one hot tenant / spread over {organizations:,}"
    )
    columns = ("", "", "hot", "spread", "hot/spread", "p50 ms", "p99 ms", "CPU ms a call", "PostgreSQL's")
    for column in columns:
        table.add_column(column, justify="right")
    for group in result["groups"]:
        for way, name in _ways(group):
            figures = group[way]
            row = [f"{figures[kind]['calls_per_second']:,}" for kind in _KINDS]
            pairs = [
                " / ".join(f"{figures[kind][figure]:.{decimals}f}" for kind in _KINDS)
                for figure, decimals in (("p50_ms", 0), ("p99_ms", 0), ("cpu_ms", 3), ("database_cpu_ms", 3))
            ]
            table.add_row(_named(group), name, *row, f"{figures['percent']} %", *pairs)
    return table
