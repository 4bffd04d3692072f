"""A process group of Tollgate for one story: started as a newcomer would, and stopped by the signal they would send."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SERVE = (sys.executable, "-m", "tollgate", "serve")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Keys:
    """What the first start hands out."""

    operator: str
    management: str
    inference: str


@dataclass(frozen=True, slots=True)
class Served:
    """A running group, and how to ask it things."""

    base_url: str
    data_dir: Path
    keys: Keys | None
    """`None` on a start that was not the first."""

    def call(self, method: str, path: str, *, key: str, **rest: Any) -> httpx.Response:
        """One request, answered whatever its status."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.request(method, self.base_url + path, headers=headers, timeout=60, trust_env=False, **rest)

    def get(self, path: str, *, key: str) -> Any:
        """What a route answers."""
        return self._answer(self.call("GET", path, key=key))

    def post(self, path: str, body: object, *, key: str) -> Any:
        """What a write answers."""
        return self._answer(self.call("POST", path, key=key, json=body))

    def chat(self, text: str, *, key: str, **fields: object) -> Any:
        """What the sandbox answers to one message."""
        messages = [{"role": "user", "content": text}]
        return self.post("/chat/completions", {"model": "sandbox/echo", "messages": messages, **fields}, key=key)

    def tollgate(self, *arguments: str) -> Any:
        """What a command of the command line answers as JSON."""
        command = [sys.executable, "-m", "tollgate", *arguments, "--data-dir", str(self.data_dir), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_inherited(), timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _answer(self, answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def serving(data_dir: Path, **environment: str) -> Iterator[Served]:
    """A group on this data directory and a free port; it has ended, in good order, when the block does."""
    arguments = ["--json", "--port", "0", "--data-dir", str(data_dir)]
    with started([*SERVE, *arguments], environment) as process:
        said = json.loads(lines_until(process, "}")[-1])
        keys = said["operator_key"] and Keys(said["operator_key"], said["management_key"], said["inference_key"])
        yield Served(said["base_url"], data_dir, keys)


@contextmanager
def started(
    command: Sequence[str], environment: dict[str, str], *, directory: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A process that is stopped by SIGTERM when the block ends, and must then end well."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=_inherited() | environment, cwd=directory
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS_MAX) == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS_MAX)
        if process.stdout is not None:
            process.stdout.close()


def _inherited() -> dict[str, str]:
    """The environment without what would make this group another one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TOLLGATE_", "OPENAI_"))}


def lines_until(process: "subprocess.Popen[str]", ending: str) -> list[str]:
    """What the process prints up to the first line with this ending."""
    assert process.stdout is not None
    lines: list[str] = []
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + START_SECONDS_MAX
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not any(line.endswith(ending) for line in lines):
            assert selector.select(deadline - time.monotonic()), f"nothing more after {lines}"
            piece = os.read(descriptor, 65536)
            assert piece, f"ended after {lines}"
            printed += piece
            lines = printed.decode().split("\n")[:-1]
    return lines
