"""Gateways side by side, by calls whose answers stream: how many events, at what cost, and how much later the first."""

from scripts.benchmarks import gateway
from scripts.benchmarks.arena import Arena, Entrant, Shape
from scripts.benchmarks.side_by_side import Figures
from scripts.benchmarks.turns import quantile

_SATURATING = (16, 64)
_RATE = 20
_CONNECTIONS_AT_RATE = 64
_WARM_SECONDS = 1.5


def figures(arena: Arena, entrant: Entrant, seconds: float) -> Figures:
    """An entrant's figures of one round."""
    arena.measure(entrant, Shape(_SATURATING[0], _WARM_SECONDS, streamed=True))
    found: Figures = {}
    events = 0
    cpu_seconds = 0.0
    for connections in _SATURATING:
        measured = arena.measure(entrant, Shape(connections, seconds, streamed=True))
        found[f"events_per_second_{connections}"] = measured.borne.events_per_second
        gateway.note_limit(entrant, measured, f"streaming over {connections} connections")
        events, cpu_seconds = events + measured.borne.events, cpu_seconds + measured.spent.gateway
    found["events_per_second"] = max(found[f"events_per_second_{connections}"] for connections in _SATURATING)
    if events:
        found["cpu_us_an_event"] = 1_000_000 * cpu_seconds / events
    borne = arena.measure(entrant, Shape(_CONNECTIONS_AT_RATE, seconds, _RATE, streamed=True)).borne
    if gateway.is_reached(entrant, borne, f"{_RATE} streams/s"):
        found["first_p50_ms"], found["first_p99_ms"] = (quantile(borne.first_ms, share) for share in (0.5, 0.99))
        found["longest_gap_p50_ms"] = quantile(borne.gap_ms, 0.5)
    return found
