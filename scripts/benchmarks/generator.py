"""A load generator in a process of its own, as the benchmark sees it."""

import multiprocessing
from types import TracebackType
from typing import Self

from scripts.benchmarks import bearing
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.machine import OTHER_CPUS, pinned
from scripts.benchmarks.traffic import Borne, Load

_START_SECONDS_MAX = 60
_STOP_SECONDS_MAX = 10


class Generator:
    """The process, alive for as long as the block runs."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        # It ends when our end of its pipe does, however we end.
        self._process = context.Process(target=bearing.serve, args=(self._theirs,), daemon=True)

    def __enter__(self) -> Self:
        with pinned(OTHER_CPUS):
            self._process.start()
        self._theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(_STOP_SECONDS_MAX if error is None else 0)
        self._process.kill()
        self._process.join()

    def bear(self, load: Load) -> Borne:
        """Make the calls of a load; back when each has its answer, or will not get it.

        Raises:
            BenchFailed: the process failed.
        """
        self._pipe.send(load)
        try:
            if self._pipe.poll(load.seconds + bearing.ANSWER_SECONDS_MAX + _START_SECONDS_MAX):
                borne: Borne = self._pipe.recv()
                return borne
        except EOFError:
            pass
        raise BenchFailed("The load generator failed; what it said is above.")
