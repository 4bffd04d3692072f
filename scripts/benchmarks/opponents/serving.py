"""Serving: a gateway's process on its CPU, asked until it answers, and ended with everything that it started."""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from scripts.benchmarks.contestants import NotStarted, Served
from scripts.benchmarks.machine import pinned
from scripts.benchmarks.opponents.installing import last_lines

from tollgate.infra.children import die_with_parent

_START_SECONDS_MAX = 300
_ANSWER_SECONDS_MAX = 30
_STOP_SECONDS_MAX = 20
_POLL_SECONDS = 0.2

T = TypeVar("T")


class Refused(Exception):
    """It answers, but not with what was asked for."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A process that is to answer, and where it writes what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def answering(self, ask: Callable[[], T]) -> T:
        """What is answered as soon as it answers.

        Raises:
            NotStarted: it ended instead, or takes too long.
        """
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                return ask()
            except (OSError, http.client.HTTPException, Refused) as error:
                problem = error
            said = last_lines(self.log.read_bytes())
            if self.process.poll() is not None:
                raise NotStarted(f"it ended with exit code {self.process.returncode}: {said}")
            if time.monotonic() > deadline:
                raise NotStarted(f"no answer in {_START_SECONDS_MAX} seconds ({problem}): {said}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def serving(
    command: Sequence[str | Path], environment: Mapping[str, str], *, cpu: int, scratch: Path
) -> Iterator[Gateway]:
    """A gateway on this CPU alone, in a directory that is its own; its whole tree has ended when the block does."""
    log = scratch / "log"
    with pinned({cpu}), log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=scratch,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it only makes system calls
        )
    with process:
        try:
            yield Gateway(process, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS_MAX)
            # What it started is in its process group, and may have outlived it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def call(served: Served) -> None:
    """A real call through the gateway.

    Raises:
        Refused: it is not answered as the provider would.
    """
    asked = {"model": served.model, "messages": [{"role": "user", "content": "Are you there?"}]}
    answer = post(f"{served.base_url}/chat/completions", asked, served.headers)
    if not answer.get("choices"):
        raise Refused(f"an answer without choices: {answer}")


def post(url: str, body: object, headers: Mapping[str, str]) -> Any:
    """What a POST is answered.

    Raises:
        Refused: with an error, or with what is not JSON.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_ANSWER_SECONDS_MAX)
    try:
        connection.request("POST", address.path, json.dumps(body), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Refused(f"{address.path} answers {answer.status}: {last_lines(text)}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refused(f"{address.path} answers {text[:100]!r}") from error
