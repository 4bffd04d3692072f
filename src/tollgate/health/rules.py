"""From how attempts at an endpoint ended to whether the next call may try it. Pure.

A circuit opens when an endpoint proves unfit, stays open for a while that doubles each time it proves so again, and is
then half-open: one call at a time tries the endpoint in earnest, and decides. What the caller asked wrongly shows that
an endpoint is alive.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tollgate.health.model import Circuit, Condition, Fault, Fitness, Track


@dataclass(frozen=True, slots=True)
class _Patience:
    """How soon a fault opens a circuit, and for how long at first and at most."""

    failures: int
    """So many in a row."""
    seconds: int
    seconds_max: int


_PATIENCE = {
    Fault.UNREACHABLE: _Patience(1, 1, 30),
    Fault.SILENT: _Patience(2, 15, 300),
    Fault.LIMITED: _Patience(1, 2, 60),
    # Some providers say so of single requests, and nobody's must send everybody elsewhere.
    Fault.DENIED: _Patience(3, 60, 600),
    Fault.GONE: _Patience(3, 60, 600),
    Fault.FAILING: _Patience(3, 5, 60),
}
_HISTORY = 20
"""How many outcomes are remembered, and how many failures among them open a circuit though none follow each other."""
_FAILURES_OF_HISTORY = 10
_OPENINGS_MAX = 16
_UNLOOKED_SECONDS = 60
"""How long an endpoint that cannot be reached is left alone though nobody has looked whether it can be again."""


def fitness(condition: Condition, *, at: datetime) -> Fitness:
    """Whether a call may try an endpoint in this condition.

    An endpoint that cannot be reached costs a caller the wait for a connection, so none tries it before somebody has
    looked; what a provider has asked to be spared is spared.
    """
    circuit = condition.circuit
    if circuit is None:
        return Fitness.FIT
    until = circuit.until
    if circuit.fault is Fault.UNREACHABLE:
        until += timedelta(seconds=_UNLOOKED_SECONDS)
    if until <= at and not condition.being_tried:
        return Fitness.ON_TRIAL
    is_sure = circuit.fault is Fault.UNREACHABLE or (circuit.fault is Fault.LIMITED and circuit.is_told)
    return Fitness.UNFIT if is_sure else Fitness.DOUBTFUL


def served(track: Track, *, began_at: datetime) -> Track:
    """After an attempt that was answered; one that began before the circuit opened closes nothing."""
    circuit = track.circuit
    if circuit is None:
        return Track(history=_remembered(track, failure=False))
    return track if began_at < circuit.opened_at else Track()


def failed(track: Track, fault: Fault, *, began_at: datetime, at: datetime, wait_seconds: int | None = None) -> Track:
    """After an attempt that failed; `wait_seconds` if the provider said how long to leave it alone.

    Attempts that began before it was time to try it again tell nothing new, unless they tell of a longer wait.
    """
    circuit, patience = track.circuit, _PATIENCE[fault]
    after = replace(track, in_a_row=track.in_a_row + 1, history=_remembered(track, failure=True))
    if circuit is not None and began_at < circuit.until:
        longer = None if wait_seconds is None else at + timedelta(seconds=wait_seconds)
        if longer is not None and longer > circuit.until:
            return replace(after, circuit=replace(circuit, fault=fault, until=longer, is_told=True))
        return after
    is_frequent = after.history.bit_count() >= _FAILURES_OF_HISTORY
    if circuit is None and after.in_a_row < patience.failures and not is_frequent:
        return after
    openings = 1 if circuit is None else min(circuit.openings + 1, _OPENINGS_MAX)
    seconds = min(patience.seconds << (openings - 1), patience.seconds_max) if wait_seconds is None else wait_seconds
    return replace(
        after, circuit=Circuit(fault, at, at + timedelta(seconds=seconds), openings, is_told=wait_seconds is not None)
    )


def _remembered(track: Track, *, failure: bool) -> int:
    return (track.history << 1 | failure) & ((1 << _HISTORY) - 1)


def looked_at(circuit: Circuit, *, is_reachable: bool, at: datetime) -> Circuit:
    """After somebody looked whether a connection comes about: if so, the endpoint is on trial."""
    if is_reachable:
        # As if it had been failing: whether it serves is for a call to find out.
        return replace(circuit, fault=Fault.FAILING, until=at)
    patience = _PATIENCE[Fault.UNREACHABLE]
    openings = min(circuit.openings + 1, _OPENINGS_MAX)
    seconds = min(patience.seconds << (openings - 1), patience.seconds_max)
    return replace(circuit, openings=openings, until=at + timedelta(seconds=seconds))
