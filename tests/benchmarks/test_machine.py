"""What others take of the CPUs is what everybody takes, less what we do; a run on a busy machine says so."""

import time

import pytest
from scripts.benchmarks import machine, tables


class Counted:
    """A machine of which the test says who has taken what, and what time it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.everybody = self.ours = self.at = 0.0
        monkeypatch.setattr(machine, "busy_seconds", lambda: self.everybody)
        monkeypatch.setattr(machine, "cpu_seconds", lambda _: self.ours)
        monkeypatch.setattr(time, "perf_counter", lambda: self.at)
        monkeypatch.setattr(time, "sleep", lambda seconds: self.passes(seconds, ours=0, others=0))

    def passes(self, seconds: float, *, ours: float, others: float) -> None:
        self.at += seconds
        self.ours += ours
        self.everybody += ours + others


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_the_busiest_while_is_told_and_what_happens_between_is_not(counted: Counted) -> None:
    others = machine.Others()
    with others.watched() as look:
        counted.passes(2, ours=4, others=0.5)
        look()
        counted.passes(2, ours=1, others=0.1)
        look()
    counted.passes(5, ours=0, others=5)
    with others.watched():
        counted.passes(4, ours=0, others=0.4)

    assert others.told == {"busy_before": 0, "busy_meanwhile": 0.25}


def test_a_moment_is_not_taken_for_a_busy_while(counted: Counted) -> None:
    others = machine.Others()
    with others.watched() as look:
        counted.passes(0.05, ours=0, others=0.05)
        look()

    assert others.told["busy_meanwhile"] == 0.05


def test_who_was_busy_before_is_told(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: counted.passes(seconds, ours=0.5, others=1.5))

    assert machine.Others().told == {"busy_before": 1.5, "busy_meanwhile": 0}


def test_figures_of_a_busy_machine_come_with_a_warning() -> None:
    idle, busy = (tables.busy({"busy_before": 0.02, "busy_meanwhile": share}) for share in (0.1, 0.11))

    assert idle == "Others took 0.02 CPUs before the run, and up to 0.10 while something was measured."
    assert busy.startswith("**The machine was busy; distrust what follows from time.** Others took 0.02 CPUs")
