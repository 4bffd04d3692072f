"""Gateways side by side, by calls that are answered whole: how many, at what cost, and how much later."""

import json
from collections.abc import Sequence

import click
from scripts.benchmarks import machine, side_by_side, tables
from scripts.benchmarks.arena import Arena, Entrant, Shape
from scripts.benchmarks.turns import quantile

_SATURATING = (16, 64)
_RATES = (50, 1_000)
_CONNECTIONS_AT_RATE = 256
_WARM_SECONDS = 1.5
_REACHED_SHARE = 0.99


def figures(arena: Arena, entrant: Entrant, seconds: float) -> dict[str, float]:
    """An entrant's figures of one round."""
    arena.measure(entrant, Shape(_SATURATING[0], _WARM_SECONDS))
    found: dict[str, float] = {}
    calls = gateway = database = group = 0.0
    for connections in _SATURATING:
        measured = arena.measure(entrant, Shape(connections, seconds))
        found[f"calls_per_second_{connections}"] = measured.borne.calls_per_second
        if measured.limited_by != "gateway" and entrant.served is not None and entrant.served.pid is not None:
            entrant.notes[f"with {connections} connections it was limited by {measured.limited_by}"] = None
        calls += len(measured.borne.told)
        gateway, database = gateway + measured.spent.gateway, database + measured.spent.database
        group += measured.spent.group
    found["calls_per_second"] = max(found[f"calls_per_second_{connections}"] for connections in _SATURATING)
    if calls:
        found["cpu_ms"], found["database_cpu_ms"] = 1000 * gateway / calls, 1000 * database / calls
        found["group_cpu_ms"] = 1000 * group / calls
    for rate in _RATES:
        found |= _latency(arena, entrant, rate, seconds, possible=found["calls_per_second"])
    return found | memory(entrant)


def _latency(arena: Arena, entrant: Entrant, rate: int, seconds: float, *, possible: float) -> dict[str, float]:
    """How long calls take at a rate, if it can be reached."""
    if possible < rate:
        entrant.notes[f"{rate} calls/s cannot be reached: it answers {possible:.0f} at most"] = None
        return {}
    borne = arena.measure(entrant, Shape(_CONNECTIONS_AT_RATE if rate > _RATES[0] else 32, seconds, rate)).borne
    if len(borne.told) < _REACHED_SHARE * borne.due or borne.unsent:
        entrant.notes[f"{rate} calls/s were not reached: {len(borne.told)} of {borne.due} were answered"] = None
        return {}
    return {f"p{share}_ms_at_{rate}": quantile(borne.milliseconds, share / 100) for share in (50, 99)} | {
        f"generator_late_p99_ms_at_{rate}": quantile(borne.late_ms, 0.99)
    }


def memory(entrant: Entrant) -> dict[str, float]:
    """What its processes have in memory."""
    if entrant.served is None or entrant.served.pid is None:
        return {}
    told = machine.memory(entrant.served.pid)
    return {"rss_mb": told.rss, "pss_mb": told.pss, "processes": told.processes}


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=4, show_default=True, help="Of each load.")
@click.option(
    "--contestants", "names", default=",".join(side_by_side.NAMES), show_default=True, help="Who takes part, by name."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gateway(*, rounds: int, seconds: float, names: str, as_json: bool) -> None:
    """Gateways side by side, by calls that are answered whole."""
    result = side_by_side.run(side_by_side.Plan([figures], names.split(","), rounds, seconds))
    click.echo(json.dumps(result) if as_json else tables.markdown(result))
