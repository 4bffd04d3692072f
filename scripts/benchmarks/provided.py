"""The fake provider's process, as the benchmark sees it: started, pinned, ended, and its log read."""

import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.machine import OTHER_CPUS, pinned
from scripts.benchmarks.provider import BEHAVIOUR_PATH, LOG_PATH

_STOP_SECONDS_MAX = 10
SERVED = "served"
"""How an answer ended that was said to the end."""


class Provided(NamedTuple):
    """An answer as its provider knows it."""

    id: str
    model: str
    quantities: Mapping[str, int]
    """By kind; nothing if nobody was told."""
    streamed: bool
    ended: str


@dataclass(frozen=True, slots=True)
class Provider:
    """A fake provider that runs."""

    port: int
    pid: int
    log: Path

    @property
    def base_url(self) -> str:
        """Of its OpenAI interface."""
        return f"http://127.0.0.1:{self.port}/v1"

    def behave(self, behaviour: Behaviour) -> None:
        """From now on."""
        self._ask("PUT", BEHAVIOUR_PATH, behaviour.told())

    def _ask(self, method: str, path: str, body: str | None = None) -> None:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_STOP_SECONDS_MAX)
        asking.request(method, path, body)
        asking.getresponse().read()
        asking.close()

    def written_log(self) -> Path:
        """Its log, with everything in it that it has answered so far."""
        self._ask("GET", LOG_PATH)
        return self.log

    def provided(self) -> Iterator[Provided]:
        """Everything that it has answered so far."""
        known: dict[str, Mapping[str, int]] = {"": {}}
        with self.written_log().open() as log:
            for line in log:
                answer, model, told, how, ended = line.rstrip("\n").split("\t")
                quantities = known.get(told)
                if quantities is None:
                    quantities = known[told] = json.loads(told)
                yield Provided(answer, model, quantities, how == "streamed", ended)


@contextmanager
def providing(behaviour: Behaviour) -> Iterator[Provider]:
    """A provider that has ended when the block does."""
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch:
        log = Path(scratch) / "log"
        command = [sys.executable, "-m", "scripts.benchmarks.provider", behaviour.told(), str(log)]
        # It ends when its standard input does, however we end.
        with (
            pinned(OTHER_CPUS),
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,  # noqa: S603 - our own command
        ):
            try:
                told = process.stdout.readline() if process.stdout is not None else b""
                if not told:
                    raise BenchFailed("The fake provider did not start; what it said is above.")
                yield Provider(json.loads(told)["port"], process.pid, log)
            finally:
                if process.stdin is not None:
                    process.stdin.close()
                try:
                    process.wait(_STOP_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    process.kill()
