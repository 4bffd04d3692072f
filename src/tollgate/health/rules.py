"""From how attempts at an endpoint ended to whether the next call may try it. Pure.

A circuit opens when an endpoint proves unfit, stays open for a while that doubles each time it proves so again, and is
then half-open: one call at a time tries the endpoint in earnest, and decides. What the caller asked wrongly shows that
an endpoint is alive.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tollgate.health.model import Circuit, Condition, Fault, Fitness, Track
from tollgate.kit.ids import OrganizationId


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
    # Some providers say so of single requests.
    Fault.DENIED: _Patience(3, 60, 600),
    Fault.GONE: _Patience(3, 60, 600),
    Fault.FAILING: _Patience(3, 5, 60),
}
_MAY_BE_THEIRS = frozenset({Fault.SILENT, Fault.DENIED, Fault.GONE, Fault.FAILING})
"""What a caller can bring about by what it asks for: a file that is not there, an answer that takes for ever."""
_HISTORY = 20
"""How many outcomes are remembered, and how many failures among them open a circuit though none follow each other."""
_FAILURES_OF_HISTORY = 10
_OPENINGS_MAX = 16
_TRIAL_SECONDS_MAX = 10
"""How long one call keeps the others from trying an endpoint: who takes longer tells nothing soon enough."""
_JUST_NOW = timedelta(seconds=1)
_USERS_MAX = 4
_USED_FOR = timedelta(minutes=10)
"""How long somebody who called an endpoint counts among its users."""
_UNLOOKED_SECONDS = 60
"""How long an endpoint that cannot be reached is left alone though nobody has looked whether it can be again."""


def fitness(condition: Condition, *, at: datetime) -> Fitness:
    """Whether a call may try an endpoint in this condition.

    An endpoint that cannot be reached costs a caller the wait for a connection, so none tries it before somebody has
    looked; what a provider has asked to be spared is spared. Once that time is over nobody is shut out, whoever has the
    trial.
    """
    circuit = condition.circuit
    if circuit is None:
        return Fitness.FIT
    until = circuit.until
    if circuit.fault is Fault.UNREACHABLE:
        until += timedelta(seconds=_UNLOOKED_SECONDS)
    if until <= at:
        return Fitness.DOUBTFUL if _is_being_tried(condition, at) else Fitness.ON_TRIAL
    is_sure = circuit.fault is Fault.UNREACHABLE or (circuit.fault is Fault.LIMITED and circuit.is_told)
    return Fitness.UNFIT if is_sure else Fitness.DOUBTFUL


def _is_being_tried(condition: Condition, at: datetime) -> bool:
    return condition.tried_since is not None and at - condition.tried_since < timedelta(seconds=_TRIAL_SECONDS_MAX)


def served(track: Track, *, by: OrganizationId, began_at: datetime) -> Track:
    """After an attempt that was answered; one that began before the circuit opened closes nothing."""
    circuit = track.circuit
    if circuit is None and not track.in_a_row and not track.history and _is_latest_user(track, by, began_at):
        return track
    users = _users(track, by, began_at)
    if circuit is None:
        return Track(history=_remembered(track, failure=False), users=users)
    return replace(track, users=users) if began_at < circuit.opened_at else Track(users=users)


def failed(
    track: Track, fault: Fault, *, by: OrganizationId, began_at: datetime, at: datetime, wait_seconds: int | None = None
) -> Track:
    """After an attempt that failed; `wait_seconds` if the provider said how long to leave it alone.

    Attempts that began before it was time to try it again tell nothing new, unless they tell of a longer wait. What may
    be a caller's own doing opens no circuit as long as it happens to one of several users alone.
    """
    circuit = track.circuit
    after = replace(
        track,
        in_a_row=track.in_a_row + 1,
        history=_remembered(track, failure=True),
        suspects=frozenset([*track.suspects, by][-_USERS_MAX:]),
        users=_users(track, by, at),
    )
    if circuit is not None and began_at < circuit.until:
        longer = None if wait_seconds is None else at + timedelta(seconds=wait_seconds)
        if longer is not None and longer > circuit.until:
            return replace(after, circuit=replace(circuit, fault=fault, until=longer, is_told=True))
        return after
    is_frequent = after.history.bit_count() >= _FAILURES_OF_HISTORY
    if circuit is None and after.in_a_row < _PATIENCE[fault].failures and not is_frequent:
        return after
    if circuit is None and fault in _MAY_BE_THEIRS and _concerns_one_of_several(after, at):
        return after
    openings, wait = _next_opening(circuit, fault)
    if wait_seconds is not None:
        wait = timedelta(seconds=wait_seconds)
    return replace(after, circuit=Circuit(fault, at, at + wait, openings, is_told=wait_seconds is not None))


def _next_opening(circuit: Circuit | None, fault: Fault) -> tuple[int, timedelta]:
    """How often the circuit will have opened, and how long it stays open for this fault unless its provider says."""
    patience = _PATIENCE[fault]
    openings = 1 if circuit is None else min(circuit.openings + 1, _OPENINGS_MAX)
    return openings, timedelta(seconds=min(patience.seconds << (openings - 1), patience.seconds_max))


def _users(track: Track, by: OrganizationId, at: datetime) -> tuple[tuple[OrganizationId, datetime], ...]:
    return ((by, at), *(user for user in track.users if user[0] != by))[:_USERS_MAX]


def _is_latest_user(track: Track, by: OrganizationId, at: datetime) -> bool:
    """Whether it is known that they have called it just now: which second it was is all the same."""
    return bool(track.users) and track.users[0][0] == by and at - track.users[0][1] < _JUST_NOW


def _concerns_one_of_several(track: Track, at: datetime) -> bool:
    users = {user for user, last in track.users if at - last < _USED_FOR}
    return len(track.suspects) == 1 and len(users) > 1


def _remembered(track: Track, *, failure: bool) -> int:
    return (track.history << 1 | failure) & ((1 << _HISTORY) - 1)


def looked_at(circuit: Circuit, *, is_reachable: bool, at: datetime) -> Circuit:
    """After somebody looked whether a connection comes about: if so, the endpoint is on trial."""
    if is_reachable:
        # As if it had been failing: whether it serves is for a call to find out.
        return replace(circuit, fault=Fault.FAILING, until=at)
    openings, wait = _next_opening(circuit, Fault.UNREACHABLE)
    return replace(circuit, openings=openings, until=at + wait)
