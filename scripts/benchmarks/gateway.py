"""Gateways side by side, by calls that are answered whole: how many, at what cost, and how much later."""

from scripts.benchmarks import machine
from scripts.benchmarks.arena import Arena, Entrant, Measured, Shape
from scripts.benchmarks.side_by_side import Figures
from scripts.benchmarks.traffic import Borne
from scripts.benchmarks.turns import quantile

_SATURATING = (16, 64)
_RATES = {50: 32, 1_000: 256}
"""Calls a second, and over how many connections: so many are in flight at once at most."""
_WARM_SECONDS = 1.5
_REACHED_SHARE = 0.99


def figures(arena: Arena, entrant: Entrant, seconds: float) -> Figures:
    """An entrant's figures of one round."""
    arena.measure(entrant, Shape(_SATURATING[0], _WARM_SECONDS))
    found: Figures = {}
    saturated = [arena.measure(entrant, Shape(connections, seconds)) for connections in _SATURATING]
    for connections, measured in zip(_SATURATING, saturated, strict=True):
        found[f"calls_per_second_{connections}"] = measured.borne.calls_per_second
        note_limit(entrant, measured, f"with {connections} calls at once")
    found["calls_per_second"] = max(measured.borne.calls_per_second for measured in saturated)
    calls = sum(measured.borne.answered for measured in saturated)
    if calls and entrant.served is not None and entrant.served.pid is not None:
        found["cpu_ms"] = 1000 * sum(measured.spent.gateway for measured in saturated) / calls
        found["database_cpu_ms"] = 1000 * sum(measured.spent.database for measured in saturated) / calls
        found["group_cpu_ms"] = 1000 * sum(measured.spent.group for measured in saturated) / calls
    for rate in _RATES:
        found |= _times(arena, entrant, rate, seconds, possible=found["calls_per_second"])
    return found | _memory(entrant)


def _times(arena: Arena, entrant: Entrant, rate: int, seconds: float, *, possible: float) -> Figures:
    """How long calls take at a rate, if it can be reached."""
    if possible < rate:
        entrant.notes[f"{rate:,} calls/s"] = f"not tried, because it answers {possible:,.0f} at most"
        return {}
    borne = arena.measure(entrant, Shape(_RATES[rate], seconds, rate)).borne
    if not is_reached(entrant, borne, f"{rate:,} calls/s"):
        return {}
    return {f"p{share}_ms_at_{rate}": quantile(borne.milliseconds, share / 100) for share in (50, 99)} | {
        f"generator_late_p99_ms_at_{rate}": quantile(borne.late_ms, 0.99)
    }


def is_reached(entrant: Entrant, borne: Borne, rate: str) -> bool:
    """Whether calls were answered at the rate at which they were due; if not, the entrant's notes say so."""
    if borne.unsent or borne.answered < _REACHED_SHARE * borne.due:
        entrant.notes[rate] = f"not reached: of {borne.due:,} calls {borne.answered:,} were answered"
        return False
    return True


def note_limit(entrant: Entrant, measured: Measured, when: str) -> None:
    """Note who limited an entrant, if it was not itself."""
    has_gateway = entrant.served is not None and entrant.served.pid is not None
    if has_gateway and measured.limited_by != "gateway":
        entrant.notes[when] = f"limited by {measured.limited_by}"


def _memory(entrant: Entrant) -> Figures:
    """What its processes have in memory."""
    if entrant.served is None or entrant.served.pid is None:
        return {}
    each = [memory for _, memory in machine.memory_of_each(entrant.served.pid)]
    return {
        "rss_mb": sum(memory.rss for memory in each),
        "pss_mb": sum(memory.pss for memory in each),
        "worker_pss_mb": max((memory.pss for memory in each), default=0),
    }
