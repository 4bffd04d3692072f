"""A million calls, and whether anything grows with them: the memory of a group's processes after each part of them.

Whole and streamed calls in turn, over many keys of many organizations: the first parts, which do not count, meet all of
them, and the others meet them again. At the end the ledger is held against what callers were told and the provider
served, call by call, in the database itself.
"""

import asyncio
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil
from rich.console import Console
from rich.table import Table
from scripts.benchmarks import books, goals, machine, settled, tables
from scripts.benchmarks.arena import asked, open_arena
from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.contestants import Served
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.load import Tenant
from scripts.benchmarks.machine import Memory, memory_of_each
from scripts.benchmarks.ours import PRICES, Tollgate
from scripts.benchmarks.progress import Told
from scripts.benchmarks.requests import address
from scripts.benchmarks.traffic import Borne, Load

WORKER_MB_GOAL = 150
GROWTH_MB_GOAL = 1
"""A million calls: what is less cannot be told from none."""

_GATEWAY = "gateway worker"
_EVENTS = 12
_SECONDS_MAX = 600
"""For one part of the calls."""
_WARM_SHARE = 0.25
"""Of the parts: caches fill, and allocators find their size."""
_POINTS_MIN = 3


class Sample(NamedTuple):
    """How large the processes were after so many calls."""

    calls: int
    memory: Mapping[str, Memory]


class Slope(NamedTuple):
    """How something grows, in megabytes a million calls, and how sure that is."""

    growth: float
    error: float
    """One standard error."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what to do."""

    calls: int
    parts: int
    organizations: int
    connections: int
    workers: int

    @property
    def warm_parts(self) -> int:
        """How many of the parts meet new keys."""
        return max(int(_WARM_SHARE * self.parts), 1)


@click.command(short_help="A million calls, and what stays in memory.")
@click.option(
    "--calls", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True, help="All together."
)
@click.option(
    "--parts", type=click.IntRange(4, 1_000), default=40, show_default=True, help="Memory is read after each."
)
@click.option(
    "--organizations", type=click.IntRange(4, 100_000), default=2_000, show_default=True, help="Each has one key."
)
@click.option("--connections", type=click.IntRange(1, 1024), default=32, show_default=True, help="Calls at once.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Gateway processes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def soak(*, as_json: bool, **shape: int) -> None:
    """A million calls: what each process has in memory, and whether it grows.

    Ends with an error if a call was not answered, or not every call that was is in the ledger as its provider told it.
    """
    result = _soaked(Plan(**shape))
    click.echo(json.dumps(result)) if as_json else _show(result)


def _soaked(plan: Plan) -> dict[str, Any]:
    tollgate, others = Tollgate(workers=plan.workers), machine.Others()
    with (
        open_arena([tollgate.contestant], Behaviour(events=_EVENTS)) as arena,
        Told() as progress,
        tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch,
    ):
        [entrant] = arena.entrants
        if entrant.served is None or tollgate.group is None:
            raise BenchFailed(f"Tollgate did not start: {entrant.absent}")
        group, told = tollgate.group, Path(scratch) / "told"
        tenants = asyncio.run(books.tenants(group, plan.organizations))
        samples, seconds = [Sample(0, _memory(group))], 0.0
        task = progress.begin("Soaking", plan.parts)
        with others.watched() as look:
            for at in range(plan.parts):
                borne = arena.generator.bear(_load(plan, entrant.served, tenants, at))
                _check(borne, plan.calls // plan.parts)
                settled.write(told, borne.told)
                seconds += borne.seconds
                samples.append(Sample(samples[-1].calls + len(borne.told), _memory(group)))
                look()
                progress.step(task)
        ledger = asyncio.run(settled.check(group, told, arena.provider.written_log(), PRICES))
    return _result(plan, samples, seconds) | others.told | {"ledger": ledger}


def _load(plan: Plan, served: Served, tenants: Sequence[Tenant], part: int) -> Load:
    """A part of the calls: those of some of the organizations."""
    ours = tenants[part % plan.warm_parts :: plan.warm_parts]
    calls = [
        asked(replace(served, headers={"authorization": f"Bearer {tenant.key_text}"}), streamed=streamed)
        for tenant in ours
        for streamed in (False, True)
    ]
    return Load([address(served.base_url)], calls, _SECONDS_MAX, plan.connections, calls_max=plan.calls // plan.parts)


def _check(borne: Borne, calls: int) -> None:
    if borne.failed or len(borne.told) != calls:
        raise BenchFailed(f"Of {calls} calls {len(borne.told)} were answered: {borne.problems[:1]}")


def _memory(group: Group) -> dict[str, Memory]:
    """What the group's processes have: the largest gateway worker, and the others by what they are, added up."""
    found: dict[str, list[Memory]] = defaultdict(list)
    for process, memory in memory_of_each(group.pid):
        with suppress(psutil.NoSuchProcess):
            found[_kind(process)].append(memory)
    return {
        kind: max(each) if kind == _GATEWAY else sum(each[1:], start=each[0]) for kind, each in sorted(found.items())
    }


def _kind(process: psutil.Process) -> str:
    """What a process of a group is."""
    command, parent = process.cmdline(), process.parent()
    if any("postgres" in part for part in command[:1]):
        return "PostgreSQL"
    if any("gateway_process" in part for part in command):
        is_forked = parent is not None and any("gateway_process" in part for part in parent.cmdline())
        return _GATEWAY if is_forked else "gateway main"
    return "worker" if "worker" in command else "serve"


def _result(plan: Plan, samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    warm = samples[1 + plan.warm_parts :]
    processes = {}
    for kind in samples[-1].memory:
        first, last = samples[0].memory[kind], samples[-1].memory[kind]
        # What is shared shows in the resident size of everybody, and PostgreSQL's buffers fill.
        sizes = [sample.memory[kind].own if kind == "PostgreSQL" else sample.memory[kind].rss for sample in warm]
        growth = slope([sample.calls for sample in warm], sizes)
        processes[kind] = {
            "before": {name: round(value, 1) for name, value in first._asdict().items()},
            "after": {name: round(value, 1) for name, value in last._asdict().items()},
            "growth_mb_per_million": round(growth.growth, 2),
            "error": round(growth.error, 2),
        }
    return {
        "calls": samples[-1].calls,
        "calls_per_second": round(samples[-1].calls / seconds),
        "organizations": plan.organizations,
        "workers": plan.workers,
        "processes": processes,
        "goals": _goals(processes[_GATEWAY]),
        "samples": [
            {"calls": calls, **{kind: [round(value, 1) for value in each] for kind, each in memory.items()}}
            for calls, memory in samples
        ],
    }


def _goals(gateway: Mapping[str, Any]) -> list[dict[str, Any]]:
    growth = gateway["growth_mb_per_million"]
    return [
        goals.told(
            "MB of memory a gateway worker, what is shared being shared out",
            gateway["after"]["pss"],
            most=WORKER_MB_GOAL,
            decimals=1,
        ),
        goals.told(
            "MB that a gateway worker grows by in a million calls",
            None if math.isnan(growth) else growth,
            most=GROWTH_MB_GOAL,
            decimals=2,
        ),
    ]


def slope(calls: Sequence[int], megabytes: Sequence[float]) -> Slope:
    """The line through sizes that fits best, by least squares."""
    if len(calls) < _POINTS_MIN:
        return Slope(math.nan, math.nan)
    millions = [count / 1_000_000 for count in calls]
    x, y = (sum(values) / len(values) for values in (millions, megabytes))
    spread = sum((each - x) ** 2 for each in millions)
    growth = sum((at - x) * (size - y) for at, size in zip(millions, megabytes, strict=True)) / spread
    off = sum((size - y - growth * (at - x)) ** 2 for at, size in zip(millions, megabytes, strict=True))
    return Slope(growth, math.sqrt(off / (len(calls) - 2) / spread))


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['calls']:,} calls, {result['calls_per_second']:,} a second")
    for column in ("", "RSS MB", "PSS MB", "its own MB", "grows by MB a million calls"):
        table.add_column(column, justify="right")
    for kind, told in result["processes"].items():
        sizes = (f"{told['before'][name]:.0f} → {told['after'][name]:.0f}" for name in Memory._fields)
        table.add_row(kind, *sizes, f"{told['growth_mb_per_million']:+.1f} ± {told['error']:.1f}")
    console = Console()
    console.print(table)
    console.print("± is one standard error. Of PostgreSQL the growth is that of its own; its buffers fill.")
    console.print(
        f"{result['ledger']['recorded']:,} calls are recorded as they were answered and served, and no other."
    )
    click.echo("\n" + tables.busy(result))
    click.echo("\n" + tables.goals(result["goals"]), nl=False)
