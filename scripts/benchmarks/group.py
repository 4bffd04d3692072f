"""A process group to measure: started on a free port in a temporary directory, asked over loopback, and ended."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import click
import psutil
from scripts.benchmarks import machine

from tollgate.infra import embedded_postgres

ANSWER_SECONDS_MAX = 120
GRANT = Decimal(1_000_000)
"""US dollars of the installation's own money: enough for whatever a benchmark sends."""

_START_SECONDS_MAX = 60
_STOP_SECONDS_MAX = 60
_POLL_SECONDS = 0.05
_LOG_CHARACTERS_MAX = 2_000
_SUCCESS = range(200, 300)

GATEWAY, DATABASE = "gateway_process", "postgres"
"""What the commands of a group's processes are known by."""


class BenchFailed(click.ClickException):
    """What was to be measured did not work."""


@dataclass(frozen=True, slots=True)
class Group:
    """A running process group, its keys, its database, and where it keeps its notes."""

    base_url: str
    operator_key: str
    management_key: str
    inference_key: str
    database_url: str
    data_dir: Path
    pid: int
    """The root of all its processes."""

    def get(self, path: str, *, key: str) -> Any:
        """What a route answers."""
        return Caller(self, key).ask("GET", path)

    def post(self, path: str, body: object, *, key: str) -> Any:
        """What a write answers."""
        return Caller(self, key).ask("POST", path, json.dumps(body).encode())

    def patch(self, path: str, body: object, *, key: str) -> Any:
        """What a change answers."""
        return Caller(self, key).ask("PATCH", path, json.dumps(body).encode())


def process(group: Group, name: str) -> int:
    """The topmost process of the group that is run by a command like this.

    Raises:
        BenchFailed: there is none.
    """
    for each in machine.tree(group.pid):
        with suppress(psutil.NoSuchProcess):
            if any(name in part for part in each.cmdline()):
                return each.pid
    raise BenchFailed(f"No process of the group is named {name}.")


class Caller:
    """A client with one connection, which it keeps."""

    def __init__(self, group: Group, key: str) -> None:
        address = urlsplit(group.base_url)
        self._path = address.path
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._connection = http.client.HTTPConnection(address.netloc, timeout=ANSWER_SECONDS_MAX)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """What a request is answered, money as it is printed.

        Raises:
            BenchFailed: it is answered with an error.
        """
        return read(self.fetch(method, path, body))

    def fetch(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer as it came.

        Raises:
            BenchFailed: it is an error.
        """
        self._connection.request(method, self._path + path, body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in _SUCCESS:
            raise BenchFailed(f"{method} {path} was answered with {answer.status}: {text[:500]!r}")
        return text


def read(answer: bytes) -> Any:
    """What an answer says, money as it is printed."""
    return json.loads(answer, parse_float=Decimal)


@contextmanager
def running(workers: int, *, beside: Group | None = None, **settings: str) -> Iterator[Group]:
    """A group that has ended, and left nothing, when the block does.

    Beside another one it is a host of its own on that one's database.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    if beside is not None:
        settings["TOLLGATE_DATABASE_URL"] = beside.database_url
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch:
        data_dir = Path(scratch) / "data"
        options = ["--json", "--port", "0", "--workers", str(workers), "--data-dir", str(data_dir)]
        command = [sys.executable, "-m", "tollgate", "serve", *options]
        with (
            (Path(scratch) / "log").open("w+") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment | settings) as process,  # noqa: S603 - our own command
        ):
            try:
                told = _told(process, log)
                url = embedded_postgres.running_url(data_dir) or ""
                group = Group(**told, database_url=url, data_dir=data_dir, pid=process.pid)
                # Keys are told once, by whoever met the database first.
                yield (
                    group
                    if beside is None
                    else replace(beside, base_url=group.base_url, data_dir=data_dir, pid=process.pid)
                )
            finally:
                process.terminate()
                try:
                    process.wait(_STOP_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    process.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until a process takes connections; false if it ends instead, or takes too long."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def grant(group: Group) -> None:
    """Let the first organization spend."""
    (organization,) = group.get("/admin/organizations", key=group.operator_key)["data"]
    given = {"amount": str(GRANT), "category": "promotional", "reason": "benchmark"}
    group.post(f"/admin/organizations/{organization['id']}/grants", given, key=group.operator_key)


def _told(process: "subprocess.Popen[bytes]", log: IO[str]) -> dict[str, str]:
    """The line that a group prints as soon as it answers."""
    patience = threading.Timer(_START_SECONDS_MAX, process.terminate)
    patience.daemon = True
    patience.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else b""
    finally:
        patience.cancel()
    if not line:
        log.seek(0)
        raise BenchFailed(f"The group did not start:\n{log.read()[-_LOG_CHARACTERS_MAX:]}")
    told: dict[str, str] = json.loads(line)
    return told
