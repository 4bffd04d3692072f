"""A group that is interrupted while it starts leaves nothing that is waited for."""

import subprocess
import threading
from typing import Any, Self

import pytest
from scripts.benchmarks import group


class _Interrupted:
    """A process that Ctrl-C comes before the first line of."""

    def __init__(self, *_: object, **__: object) -> None:
        self.stdout = self
        self.terminated = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def readline(self) -> bytes:
        raise KeyboardInterrupt

    def terminate(self) -> None:
        self.terminated += 1

    def wait(self, _seconds: float) -> int:
        return 0


def test_an_interrupt_while_it_starts_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    process: Any = _Interrupted()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: process)

    with pytest.raises(KeyboardInterrupt), group.running(1):
        pass

    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in timers:
        timer.join(10)
    assert not any(timer.is_alive() for timer in timers)
    assert process.terminated == 1
