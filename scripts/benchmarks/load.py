"""A load of calls over HTTP: a fixed number of connections, each with always one sandbox call in flight.

The client does little for each call, so that what is measured is the gateway's work and not its own.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit
from uuid import UUID

import uvloop
from scripts.benchmarks.group import ANSWER_SECONDS_MAX, BenchFailed, Group

from tollgate.kit.ids import CallId, KeyId, OrganizationId

_QUESTION = {
    "model": "sandbox/echo",
    "messages": [{"role": "user", "content": "What is said above?"}],
    "max_tokens": 16,
}
_ANSWER_BYTES_MAX = 65_536
_BODY_BYTES = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_CALL = re.compile(rb'\r\nx-generation-id: gen_([0-9a-f-]{36})\r\n.*"cost":([0-9.eE+-]+)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with credit and one inference key."""

    organization_id: OrganizationId
    key_id: KeyId
    key_text: str


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of these tenants in turn, for so long, and no more than so many."""

    tenants: Sequence[Tenant]
    seconds: float
    calls_max: int


class Answered(NamedTuple):
    """A call as its caller knows it."""

    organization_id: OrganizationId
    call_id: CallId
    cost: Decimal


@dataclass(slots=True)
class Half:
    """What became of a load: its calls, how long each took, and how long they took together."""

    calls: list[Answered] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0

    @property
    def calls_per_second(self) -> float:
        """How many were answered each second."""
        return len(self.calls) / self.seconds


class Turnstile:
    """Whose call comes next, until it is enough of a load."""

    def __init__(self, load: Load) -> None:
        self._tenants: Iterator[Tenant] = cycle(load.tenants)
        self._calls_left = load.calls_max
        self._deadline = time.perf_counter() + load.seconds

    def next(self) -> Tenant | None:
        """The next call's tenant; `None` when it is enough."""
        if self._calls_left <= 0 or time.perf_counter() > self._deadline:
            return None
        self._calls_left -= 1
        return next(self._tenants)


class Clients:
    """Connections to a group that are open for as long as the block runs: every load goes over the same ones."""

    def __init__(self, group: Group, *, connections: int) -> None:
        self._address = urlsplit(group.base_url)
        self._count = connections
        self._connections: list[socket.socket] = []
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def __enter__(self) -> Self:
        self._loop.__enter__()
        for _ in range(self._count):
            connection = socket.create_connection((self._address.hostname, self._address.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(0)
            self._connections.append(connection)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.__exit__(kind, error, trace)
        for connection in self._connections:
            connection.close()

    def bear(self, load: Load) -> Half:
        """Make the calls of a load.

        Raises:
            BenchFailed: one was not answered as it should be.
        """
        return self._loop.run(self._bear(load))

    async def _bear(self, load: Load) -> Half:
        requests = {tenant: self._request(tenant) for tenant in load.tenants}
        turnstile, answers = Turnstile(load), list[_Answer]()
        started = time.perf_counter()
        async with asyncio.timeout(load.seconds + ANSWER_SECONDS_MAX), asyncio.TaskGroup() as calling:
            for connection in self._connections:
                calling.create_task(_call(connection, turnstile, requests, answers))
        seconds = time.perf_counter() - started
        return Half([_read(answer) for answer in answers], [answer.milliseconds for answer in answers], seconds)

    def _request(self, tenant: Tenant) -> bytes:
        body = json.dumps(_QUESTION)
        return (
            f"POST {self._address.path}/chat/completions HTTP/1.1\r\nhost: {self._address.netloc}\r\n"
            f"authorization: Bearer {tenant.key_text}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()


class _Answer(NamedTuple):
    """An answer as it came: it is read when nobody waits any more."""

    tenant: Tenant
    text: bytes
    milliseconds: float


async def _call(
    connection: socket.socket, turnstile: Turnstile, requests: dict[Tenant, bytes], answers: list[_Answer]
) -> None:
    """One call after the other over one connection, until it is enough."""
    loop = asyncio.get_running_loop()
    while (tenant := turnstile.next()) is not None:
        started = time.perf_counter()
        await loop.sock_sendall(connection, requests[tenant])
        text = await loop.sock_recv(connection, _ANSWER_BYTES_MAX)
        while not _is_whole(text):
            more = await loop.sock_recv(connection, _ANSWER_BYTES_MAX)
            if not more:
                raise BenchFailed(f"A connection was closed on a call after {text[:500]!r}")
            text += more
        answers.append(_Answer(tenant, text, (time.perf_counter() - started) * 1000))


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    told = _BODY_BYTES.search(head + b"\r\n")
    return told is not None and len(body) == int(told[1])


def _read(answer: _Answer) -> Answered:
    told = _CALL.search(answer.text)
    if told is None or not answer.text.startswith(b"HTTP/1.1 200 "):
        raise BenchFailed(f"A call was answered with {answer.text[:500]!r}")
    return Answered(answer.tenant.organization_id, CallId(UUID(told[1].decode())), Decimal(told[2].decode()))
