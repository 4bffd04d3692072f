"""Gateways side by side, by calls whose answers stream: how many events, at what cost, and how much later the first.

Streams come in two ways. In bursts the provider says everything at once, as fast as it is taken, and whoever relays it
gets many events in one piece. Spaced, there is a pause after each event, as there is with a model that thinks: then
every event has to be relayed alone.
"""

from scripts.benchmarks import gateway
from scripts.benchmarks.arena import Arena, Entrant, Shape
from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.side_by_side import Figures
from scripts.benchmarks.turns import quantile

_SATURATING = (16, 64)
_BURSTS, _SPACED = Behaviour(), Behaviour(gap_ms=5)
_SPACED_CONNECTIONS = 64
_RATE = 10
_WARM_SECONDS = 1.5


def figures(arena: Arena, entrant: Entrant, seconds: float) -> Figures:
    """An entrant's figures of one round."""
    arena.measure(entrant, Shape(_SATURATING[0], _WARM_SECONDS, streamed=True))
    arena.provider.behave(_BURSTS)
    found = _in_bursts(arena, entrant, seconds)
    arena.provider.behave(_SPACED)
    found |= _spaced(arena, entrant, seconds)
    arena.provider.behave(_BURSTS)
    return found


def _in_bursts(arena: Arena, entrant: Entrant, seconds: float) -> Figures:
    found: Figures = {}
    events, cpu_seconds = 0, 0.0
    for connections in _SATURATING:
        measured = arena.measure(entrant, Shape(connections, seconds, streamed=True))
        found[f"events_per_second_{connections}"] = measured.borne.events_per_second
        gateway.note_limit(entrant, measured, f"with {connections} streams at once")
        events, cpu_seconds = events + measured.borne.events, cpu_seconds + measured.spent.gateway
    found["events_per_second"] = max(found.values())
    return found | ({"burst_cpu_us_an_event": 1_000_000 * cpu_seconds / events} if events else {})


def _spaced(arena: Arena, entrant: Entrant, seconds: float) -> Figures:
    found: Figures = {}
    measured = arena.measure(entrant, Shape(_SPACED_CONNECTIONS, seconds, streamed=True))
    if measured.borne.events:
        found["spaced_events_per_second"] = measured.borne.events_per_second
        found["cpu_us_an_event"] = 1_000_000 * measured.spent.gateway / measured.borne.events
    borne = arena.measure(entrant, Shape(_SPACED_CONNECTIONS, seconds, _RATE, streamed=True)).borne
    if gateway.is_reached(entrant, borne, f"{_RATE} streams/s"):
        found["first_p50_ms"], found["first_p99_ms"] = (quantile(borne.first_ms, share) for share in (0.5, 0.99))
        found["longest_gap_p50_ms"] = quantile(borne.gap_ms, 0.5)
    return found
