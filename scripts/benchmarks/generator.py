"""A load generator in a process of its own: a fixed number of connections, driven as hard as they answer or at a rate.

In a closed loop each connection always has one call in flight: what is measured is how many are answered. In an open
loop calls are due at a fixed rate, whoever has answered, and each is timed from when it was due: a gateway that stalls
delays the calls behind it as well, and they say so. What the process takes of its CPU, and how late it was itself, is
told with every load, so that its own limits are not taken for the gateway's.
"""

import asyncio
import multiprocessing
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, Self, cast

import uvloop
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.machine import OTHER_CPUS, pinned

_ANSWER_SECONDS_MAX = 30
_START_SECONDS_MAX = 60
_STOP_SECONDS_MAX = 10
_PROBLEMS_MAX = 5
_PROBLEM_CHARACTERS_MAX = 300
_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"\r\n0\r\n\r\n"
_EVENT = b"data: "
_PIECES_KEPT = 4
"""The first of an answer, and so many of its last: what it says of itself is in them."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_GENERATION = re.compile(rb"\r\nx-generation-id: gen_([0-9a-f-]{36})")
_UPSTREAM = re.compile(rb'"id": ?"(chatcmpl-[^"]+)"')
_COST = re.compile(rb'"cost": ?([0-9.eE+-]+)')


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to make."""

    address: tuple[str, int]
    requests: Sequence[bytes]
    """In turn."""
    seconds: float
    connections: int
    rate: float | None = None
    """Calls a second; without one, each connection asks again once it has its answer."""
    calls_max: int | None = None


class Told(NamedTuple):
    """What an answer said of itself."""

    request: int
    """Which of the load's requests it answers."""
    generation_id: str | None
    upstream_id: str | None
    cost: str | None
    is_whole: bool
    """Whether it came to its end; a stream says so itself."""


@dataclass(slots=True)
class Borne:
    """What became of a load."""

    milliseconds: list[float] = field(default_factory=list)
    """Of each answer, to its last byte."""
    first_ms: list[float] = field(default_factory=list)
    """Of each stream, to its first event."""
    gap_ms: list[float] = field(default_factory=list)
    """Of each stream, the longest between two pieces of it."""
    events: int = 0
    told: list[Told] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """The first of what came instead of answers."""
    failed: int = 0
    """How often something did."""
    due: int = 0
    """How many calls were to be sent, of an open loop."""
    unsent: int = 0
    """How many of them were not when the time was over, because no connection was free."""
    late_ms: list[float] = field(default_factory=list)
    """How late calls were sent for which a connection was free: the generator's own fault."""
    seconds: float = 0
    cpu_seconds: float = 0

    @property
    def calls_per_second(self) -> float:
        """How many were answered each second."""
        return len(self.told) / self.seconds

    @property
    def events_per_second(self) -> float:
        """How many events of streams came each second."""
        return self.events / self.seconds


class Generator:
    """The process, alive for as long as the block runs."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        # It ends when our end of its pipe does, however we end.
        self._process = context.Process(target=_serve, args=(self._theirs,), daemon=True)

    def __enter__(self) -> Self:
        with pinned(OTHER_CPUS):
            self._process.start()
        self._theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(_STOP_SECONDS_MAX)
        self._process.kill()
        self._process.join()

    def bear(self, load: Load) -> Borne:
        """Make the calls of a load; back when each has its answer, or will not get it.

        Raises:
            BenchFailed: the process failed.
        """
        self._pipe.send(load)
        try:
            if self._pipe.poll(load.seconds + _ANSWER_SECONDS_MAX + _START_SECONDS_MAX):
                borne: Borne = self._pipe.recv()
                return borne
        except EOFError:
            pass
        raise BenchFailed("The load generator failed; what it said is above.")


def _serve(pipe: Connection) -> None:
    """Bear load after load until nobody asks any more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            while True:
                pipe.send(runner.run(_bear(pipe.recv())))
        except EOFError:
            return


async def _bear(load: Load) -> Borne:
    bearing = _Bearing(load)
    cpu_seconds = time.process_time()
    try:
        await bearing.connect()
        async with asyncio.timeout(load.seconds + _ANSWER_SECONDS_MAX):
            await bearing.run()
    except TimeoutError:
        bearing.fail(f"not answered within {_ANSWER_SECONDS_MAX} s")
    finally:
        bearing.close()
    bearing.borne.cpu_seconds = time.process_time() - cpu_seconds
    return bearing.borne


class _Bearing:
    """A load under way."""

    def __init__(self, load: Load) -> None:
        self.borne = Borne()
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._lines: list[_Line] = []
        self._free: deque[_Line] = deque()
        self._waiting: deque[float] = deque()
        """When calls were due that no connection is free for."""
        self._calls = 0
        self._in_flight = 0
        self._started = self._deadline = 0.0
        self._is_over = self._is_closed = False
        self._done = asyncio.Event()

    async def connect(self) -> None:
        """Open every connection."""
        self._lines = [await self._connected() for _ in range(self._load.connections)]

    async def _connected(self) -> "_Line":
        _, line = await self._loop.create_connection(partial(_Line, self), *self._load.address)
        return line

    async def run(self) -> None:
        """Make the calls."""
        self._free.extend(self._lines)
        self._started = time.perf_counter()
        self._deadline = self._started + self._load.seconds
        if self._load.rate is None:
            for _ in self._lines:
                self._send(self._free.popleft(), time.perf_counter())
        else:
            self._send_due()
        self._loop.call_later(self._load.seconds, self._stop)
        await self._done.wait()
        self.borne.seconds = max(time.perf_counter() - self._started, self._load.seconds if self._load.rate else 0)

    def _send_due(self) -> None:
        """Send every call that is due, and be back when the next one is."""
        now, rate = time.perf_counter(), self._load.rate or 1
        if self._is_over:
            return
        while (due := self._started + self.borne.due / rate) <= now and due < self._deadline and not self._is_enough:
            self.borne.due += 1
            if self._free:
                self.borne.late_ms.append((now - due) * 1000)
                self._send(self._free.popleft(), due)
            else:
                self._waiting.append(due)
        if due < self._deadline and not self._is_enough:
            self._loop.call_later(max(0, due - time.perf_counter()), self._send_due)

    @property
    def _is_enough(self) -> bool:
        return self._load.calls_max is not None and self._calls >= self._load.calls_max

    def _send(self, line: "_Line", due: float) -> None:
        request = self._calls % len(self._load.requests)
        self._calls += 1
        self._in_flight += 1
        line.ask(request, self._load.requests[request], due)

    def next(self, line: "_Line") -> None:
        """A connection has its answer: what it does now."""
        self._in_flight -= 1
        now = time.perf_counter()
        if not self._is_over and not self._is_enough:
            if self._load.rate is None:
                self._send(line, now)
                return
            if self._waiting:
                self._send(line, self._waiting.popleft())
                return
        self._free.append(line)
        self._look_whether_done()

    def _stop(self) -> None:
        """Send nothing more."""
        self._is_over = True
        self._look_whether_done()

    def _look_whether_done(self) -> None:
        if not self._in_flight and (self._is_enough or self._is_over):
            self.borne.unsent = len(self._waiting)
            self._done.set()

    def fail(self, problem: str) -> None:
        """Something came instead of an answer."""
        self.borne.failed += 1
        if len(self.borne.problems) < _PROBLEMS_MAX:
            self.borne.problems.append(problem[:_PROBLEM_CHARACTERS_MAX])

    def lost(self, line: "_Line") -> None:
        """A connection is gone: another takes its place."""
        if not self._is_closed and line in self._lines:
            self._lines.remove(line)
            with_call = line not in self._free
            if not with_call:
                self._free.remove(line)
            self._loop.create_task(self._replace(with_call=with_call))

    async def _replace(self, *, with_call: bool) -> None:
        try:
            line = await self._connected()
        except OSError as error:
            self.fail(str(error))
            self._in_flight -= with_call
            self._look_whether_done()
            return
        self._lines.append(line)
        if with_call:
            self.next(line)
        else:
            self._free.append(line)

    def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        for line in self._lines:
            line.abort()


class _Line(asyncio.Protocol):
    """A connection, with at most one call in flight."""

    def __init__(self, bearing: _Bearing) -> None:
        self._bearing = bearing
        self._transport: asyncio.WriteTransport = asyncio.WriteTransport()
        self._request = 0
        self._due = self._first_at = self._last_at = self._gap = 0.0
        self._pieces: list[bytes] = []
        self._left: int | None = 0
        """Bytes of the answer that are to come; unknown for one in chunks."""
        self._carry = b""
        self._events = 0
        self._is_asking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self, request: int, text: bytes, due: float) -> None:
        """Send a call."""
        self._request, self._due, self._pieces, self._left, self._carry = request, due, [], None, b""
        self._events, self._first_at, self._gap, self._is_asking = 0, 0.0, 0.0, True
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        if not self._is_asking:
            self._bearing.fail(f"unasked for: {data[:100]!r}")
            return
        now = time.perf_counter()
        if not self._pieces or _HEAD_END not in self._pieces[0]:
            data = b"".join((*self._pieces, data))
            self._pieces.clear()
            self._begin(data)
        elif self._left is not None:
            self._left -= len(data)
        self._pieces.append(data)
        if self._left is None:
            self._count(data, now)
            if (self._carry + data).endswith(_CHUNKS_END):
                self._end(now)
            self._carry = data[-len(_CHUNKS_END) :]
        elif self._left <= 0:
            self._end(now)

    def _begin(self, data: bytes) -> None:
        head_end = data.find(_HEAD_END)
        length = _LENGTH.search(data, 0, head_end + 2) if head_end >= 0 else None
        if length is not None:
            self._left = int(length[1]) - (len(data) - head_end - len(_HEAD_END))

    def _count(self, data: bytes, now: float) -> None:
        """Count events. What began in the last piece and ends in this one is counted as well."""
        count = (self._carry[-len(_EVENT) + 1 :] + data).count(_EVENT)
        if not count:
            return
        self._events += count
        if not self._first_at:
            self._first_at = now
        elif now - self._last_at > self._gap:
            self._gap = now - self._last_at
        self._last_at = now

    def _end(self, now: float) -> None:
        self._is_asking = False
        borne, pieces = self._bearing.borne, self._pieces
        text = b"".join((pieces[0], *pieces[1:][-_PIECES_KEPT:]))
        if text.startswith(b"HTTP/1.1 200"):
            borne.milliseconds.append((now - self._due) * 1000)
            if self._first_at:
                borne.events += self._events
                borne.first_ms.append((self._first_at - self._due) * 1000)
                borne.gap_ms.append(self._gap * 1000)
            borne.told.append(_told(self._request, text, is_stream=bool(self._first_at)))
        else:
            self._bearing.fail(text[:200].decode(errors="replace") + " … " + text[-100:].decode(errors="replace"))
        if _CLOSES.search(pieces[0], 0, pieces[0].find(_HEAD_END) + 2):
            self._transport.close()
        else:
            self._bearing.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_asking:
            self._bearing.fail(f"the connection was closed after {b''.join(self._pieces)[:200]!r} {exc or ''}")
        self._bearing.lost(self)

    def abort(self) -> None:
        """Close it at once."""
        self._is_asking = False
        self._transport.abort()


def _told(request: int, text: bytes, *, is_stream: bool) -> Told:
    """What an answer says of itself."""
    generation, upstream, cost = _GENERATION.search(text), _UPSTREAM.search(text), _COST.search(text)
    return Told(
        request,
        generation[1].decode() if generation else None,
        upstream[1].decode() if upstream else None,
        cost[1].decode() if cost else None,
        not is_stream or b"[DONE]" in text,
    )
