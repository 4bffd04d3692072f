"""The fake provider's process, as the benchmark sees it: started, told how to behave, ended, and its log read."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.machine import OTHER_CPUS, started

SERVED = "served"
"""How an answer ended that was said to the end."""


class Provided(NamedTuple):
    """An answer as its provider knows it."""

    id: str
    model: str
    call: str
    """Which of its caller's calls it answers, if the prompt said so."""
    quantities: Mapping[str, int]
    """By kind; nothing if nobody was told."""
    streamed: bool
    ended: str


@dataclass(slots=True)
class Provider:
    """A fake provider that runs, on as many ports as it was told to."""

    process: "subprocess.Popen[bytes]"
    log: Path
    ports: list[int]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def base_url(self) -> str:
        """Of its OpenAI interface on its first port."""
        return self.base_urls[0]

    @property
    def base_urls(self) -> list[str]:
        """The same of each of its ports."""
        return [f"http://127.0.0.1:{port}/v1" for port in self.ports]

    def behave(self, *behaviours: Behaviour) -> None:
        """From now on; one behaviour for each port, from the first on."""
        self.tell({at: behaviour.told() for at, behaviour in enumerate(behaviours)})

    def tell(self, behaviours: Mapping[int, Mapping[str, Any]]) -> None:
        """Say how some ports are to behave. When this is back they do, and the log has everything until then."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(behaviours).encode() + b"\n")
            self.process.stdin.flush()
        self.heard()

    def heard(self) -> Any:
        """What it answers.

        Raises:
            BenchFailed: it has ended.
        """
        told = self.process.stdout.readline() if self.process.stdout is not None else b""
        if not told:
            raise BenchFailed("The fake provider has ended; what it said is above.")
        return json.loads(told)

    def written_log(self) -> Path:
        """Its log, with everything in it that it has answered so far."""
        self.tell({})
        return self.log

    def provided(self) -> Iterator[Provided]:
        """Everything that it has answered so far."""
        known: dict[str, Mapping[str, int]] = {"": {}}
        with self.written_log().open() as log:
            for line in log:
                answer, model, call, told, how, ended = line.rstrip("\n").split("\t")
                quantities = known.get(told)
                if quantities is None:
                    quantities = known[told] = json.loads(told)
                yield Provided(answer, model, call, quantities, how == "streamed", ended)


@contextmanager
def providing(*behaviours: Behaviour) -> Iterator[Provider]:
    """A provider with a port for each behaviour, which has ended when the block does."""
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch:
        log = Path(scratch) / "log"
        log.touch()
        command = [sys.executable, "-m", "scripts.benchmarks.provider", str(len(behaviours)), str(log)]
        # It ends when its standard input does, however we end.
        with started(command, OTHER_CPUS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            provider = Provider(process, log, [])
            provider.ports = provider.heard()
            provider.behave(*behaviours)
            yield provider
