"""Circuits: what opens them, for how long, and who may try an endpoint meanwhile."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.health import rules
from tollgate.health.model import HEALTHY, Circuit, Condition, Fault, Fitness, Track
from tollgate.kit.ids import OrganizationId

US, THEM = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def seconds(count: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=count)


def after(faults: Sequence[Fault | None], track: Track = Track()) -> Track:  # noqa: B008 - it is frozen
    """A track after these attempts, a second each; `None` is one that was answered."""
    for number, fault in enumerate(faults):
        began_at, at = seconds(1000 * number), seconds(1000 * number + 1)
        if fault is None:
            track = rules.served(track, by=US, began_at=began_at)
        else:
            track = rules.failed(track, fault, by=US, began_at=began_at, at=at)
    return track


def fitness(track: Track, at: datetime) -> Fitness:
    return rules.fitness(Condition(track.circuit), at=at)


F = Fault.FAILING


@pytest.mark.parametrize(("faults", "opens"), [
    ([Fault.UNREACHABLE], True),
    ([Fault.LIMITED], True),
    ([Fault.DENIED, Fault.DENIED], False),
    ([Fault.DENIED] * 3, True),
    ([Fault.GONE, None, Fault.GONE, Fault.GONE], False),
    ([Fault.GONE] * 3, True),
    ([Fault.SILENT], False),
    ([Fault.SILENT, Fault.SILENT], True),
    ([F, F], False),
    ([F, F, F], True),
    ([F, F, None, F, F], False),
    ([F, None] * 9, False),
    ([F, None] * 9 + [F], True),
    ([F, F, F, None], False),
    ([F, F, F, None, F, F], False),
])  # fmt: skip
def test_a_circuit_opens_when_an_endpoint_has_proven_unfit(faults: list[Fault | None], opens: object) -> None:
    assert (after(faults).circuit is not None) is opens


@pytest.mark.parametrize(
    ("fault", "lasting"),
    [
        (Fault.UNREACHABLE, [1, 2, 4, 8, 16, 30, 30]),
        (Fault.LIMITED, [2, 4, 8, 16, 32, 60, 60]),
        (Fault.DENIED, [60, 120, 240, 480, 600, 600]),
        (Fault.FAILING, [5, 10, 20, 40, 60, 60]),
    ],
)
def test_each_trial_in_vain_doubles_the_wait_up_to_a_bound(fault: Fault, lasting: list[int]) -> None:
    track, at = Track(in_a_row=2), NOON
    for wait in lasting:
        track = rules.failed(track, fault, by=US, began_at=at, at=at)
        assert track.circuit is not None
        assert track.circuit.until - at == timedelta(seconds=wait)
        at = track.circuit.until


def test_what_fails_before_the_wait_is_over_makes_it_no_longer() -> None:
    opened = after([F, F, F])
    assert opened.circuit is not None
    late = rules.failed(opened, F, by=US, began_at=opened.circuit.until - timedelta(seconds=1), at=seconds(9000))
    assert late.circuit == opened.circuit


def test_a_provider_that_says_when_is_left_alone_until_then() -> None:
    told = rules.failed(Track(), Fault.LIMITED, by=US, began_at=NOON, at=NOON, wait_seconds=90)
    assert fitness(told, seconds(89)) is Fitness.UNFIT
    assert fitness(told, seconds(90)) is Fitness.ON_TRIAL
    longer = rules.failed(told, Fault.LIMITED, by=US, began_at=NOON, at=seconds(10), wait_seconds=300)
    assert fitness(longer, seconds(309)) is Fitness.UNFIT
    shorter = rules.failed(told, Fault.LIMITED, by=US, began_at=NOON, at=seconds(10), wait_seconds=1)
    assert shorter.circuit == told.circuit


@pytest.mark.parametrize(
    ("fault", "meanwhile"),
    [
        (Fault.UNREACHABLE, Fitness.UNFIT),
        (Fault.LIMITED, Fitness.DOUBTFUL),
        (Fault.DENIED, Fitness.DOUBTFUL),
        (Fault.GONE, Fitness.DOUBTFUL),
        (Fault.SILENT, Fitness.DOUBTFUL),
        (Fault.FAILING, Fitness.DOUBTFUL),
    ],
)
def test_a_call_waits_for_no_connection_that_is_known_not_to_come_about(fault: Fault, meanwhile: Fitness) -> None:
    assert rules.fitness(Condition(Circuit(fault, NOON, seconds(10))), at=seconds(9)) is meanwhile


def test_one_call_at_a_time_has_the_trial() -> None:
    circuit = Circuit(F, NOON, seconds(5))
    assert rules.fitness(Condition(circuit), at=seconds(5)) is Fitness.ON_TRIAL
    assert rules.fitness(Condition(circuit, tried_since=seconds(5)), at=seconds(5)) is Fitness.DOUBTFUL


def test_nobody_is_shut_out_by_whoever_has_the_trial_and_none_has_it_for_long() -> None:
    spared = Condition(Circuit(Fault.LIMITED, NOON, seconds(5), is_told=True), tried_since=seconds(5))
    assert rules.fitness(spared, at=seconds(6)) is Fitness.DOUBTFUL
    assert rules.fitness(spared, at=seconds(15)) is Fitness.ON_TRIAL


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DENIED, Fault.GONE, Fault.FAILING])
def test_what_happens_to_one_of_several_users_alone_sends_nobody_elsewhere(fault: Fault) -> None:
    track = rules.served(Track(), by=THEM, began_at=NOON)
    for number in range(50):
        track = rules.failed(track, fault, by=US, began_at=seconds(number), at=seconds(number))
    assert track.circuit is None
    confirmed = rules.failed(track, fault, by=THEM, began_at=seconds(60), at=seconds(60))
    assert confirmed.circuit is not None
    alone = rules.failed(track, fault, by=US, began_at=seconds(601), at=seconds(601))
    assert alone.circuit is not None


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.LIMITED])
def test_what_nobody_can_bring_about_by_asking_opens_at_once(fault: Fault) -> None:
    track = rules.served(Track(), by=THEM, began_at=NOON)
    assert rules.failed(track, fault, by=US, began_at=NOON, at=NOON).circuit is not None


def test_an_endpoint_that_can_be_reached_again_is_on_trial_at_once() -> None:
    gone = after([Fault.UNREACHABLE]).circuit
    assert gone is not None
    assert rules.fitness(Condition(gone), at=gone.until + timedelta(seconds=59)) is Fitness.UNFIT
    back = rules.looked_at(gone, is_reachable=True, at=gone.until)
    assert rules.fitness(Condition(back), at=gone.until) is Fitness.ON_TRIAL
    away = rules.looked_at(gone, is_reachable=False, at=gone.until)
    assert (away.openings, away.until - gone.until) == (2, timedelta(seconds=2))


def test_an_endpoint_nobody_looks_at_is_not_lost_for_ever() -> None:
    gone = Circuit(Fault.UNREACHABLE, NOON, seconds(1))
    assert rules.fitness(Condition(gone), at=seconds(61)) is Fitness.ON_TRIAL


def test_an_answer_to_what_was_asked_before_the_circuit_opened_closes_nothing() -> None:
    opened = rules.failed(Track(in_a_row=2), Fault.DENIED, by=US, began_at=seconds(5), at=seconds(6))
    assert rules.served(opened, by=US, began_at=seconds(5)).circuit == opened.circuit
    assert rules.served(opened, by=US, began_at=seconds(6)).circuit is None


@given(st.lists(st.sampled_from([None, *Fault]), max_size=60), st.integers(min_value=0, max_value=100_000))
def test_whatever_happened_an_answer_heals_and_time_lets_everyone_try(faults: list[Fault | None], wait: int) -> None:
    track = after(faults)
    assert after([*faults, None]).circuit is None
    if track.circuit is not None:
        assert track.circuit.opened_at < track.circuit.until
        assert fitness(track, track.circuit.until + timedelta(seconds=60 + wait)) is Fitness.ON_TRIAL
    else:
        assert fitness(track, seconds(wait)) is Fitness.FIT
    assert 0 <= track.history < 2**20


def test_what_is_not_known_is_healthy() -> None:
    assert rules.fitness(HEALTHY, at=NOON) is Fitness.FIT


BURST_SECONDS = 420
"""No two instants in bursts so far apart are about as far apart as users are remembered."""
MOMENTS = st.tuples(
    st.sampled_from([US, US, US, THEM]),
    st.sampled_from([*[None] * 9, F, F, F, *Fault]),
    st.sampled_from([0, 0, 0, 0, 1]),
    st.integers(0, 4),
    st.integers(0, 4),
)
"""Who called, what failed, bursts since the call before, and fifths of a second into it: when it ended, and began."""


def followed(moments: Sequence[tuple[OrganizationId, Fault | None, int, int, int]]) -> Iterator[tuple[Track, datetime]]:
    """The track after each of these, and when."""
    track, burst = Track(), 0
    for by, fault, later, ended, began in moments:
        burst += later
        at, began_at = (seconds(BURST_SECONDS * burst + fifths / 5) for fifths in (ended, min(began, ended)))
        if fault is None:
            track = rules.served(track, by=by, began_at=began_at)
        else:
            track = rules.failed(track, fault, by=by, began_at=began_at, at=at)
        yield track, at


@given(st.lists(MOMENTS, min_size=20, max_size=40))
def test_a_track_that_is_left_as_it_was_says_what_one_made_anew_would(moments: list[Any]) -> None:
    left = list(followed(moments))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rules, "_JUST_NOW", timedelta.min)
        anew = list(followed(moments))
    for (one, at), (other, _) in zip(left, anew, strict=True):
        assert replace(one, users=()) == replace(other, users=())
        assert [user for user, _ in one.users] == [user for user, _ in other.users]
        for wait in (0, 1, 5, 60, BURST_SECONDS):
            then = at + timedelta(seconds=wait)
            for tried_since in (None, at):
                conditions = (Condition(track.circuit, tried_since) for track in (one, other))
                assert len({rules.fitness(condition, at=then) for condition in conditions}) == 1
