"""How a load is borne: a fixed number of connections, driven as hard as they answer, or at a rate.

In a closed loop each connection always has one call in flight: what is measured is how many are answered. In an open
loop calls are due at a fixed rate, whoever has answered, and each is timed from when it was due: a gateway that stalls
delays the calls behind it as well, and they say so. What this process takes of its CPU, and how late it was itself, is
told with every load, so that its own limits are not taken for the gateway's.
"""

import asyncio
import time
from collections import deque
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection

import uvloop
from scripts.benchmarks import machine
from scripts.benchmarks.alarm import Alarm
from scripts.benchmarks.line import Answer, Line
from scripts.benchmarks.traffic import Borne, Load, Told

ANSWER_SECONDS_MAX = 30
"""How long answers are waited for when nothing more is sent."""
_PROBLEMS_MAX = 5
_MIXED, _MIXED_END = 2_654_435_761, 2**32
"""Numbers in order, multiplied by the one and taken modulo the other, are in no order."""

_Kept = dict[tuple[tuple[tuple[str, int], ...], int], list[Line]]
"""Connections that the next load is to go over, by where to and how many."""


def serve(pipe: Connection) -> None:
    """Bear load after load until nobody asks any more."""
    machine.leave_interrupts()
    kept: _Kept = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            while True:
                pipe.send(runner.run(_bear(pipe.recv(), kept)))
        except EOFError:
            return


async def _bear(load: Load, kept: _Kept) -> Borne:
    key = (tuple(load.addresses), load.connections)
    bearing = _Bearing(load)
    await bearing.connect(kept.pop(key, []))
    cpu_seconds = time.process_time()
    try:
        async with asyncio.timeout(load.seconds + ANSWER_SECONDS_MAX):
            await bearing.run()
    except TimeoutError:
        bearing.give_up()
    bearing.borne.cpu_seconds = time.process_time() - cpu_seconds
    lines = bearing.end()
    if load.keeps_connections:
        kept[key] = lines
    else:
        for line in lines:
            line.abort()
    return bearing.borne


class _Bearing:
    """A load under way."""

    def __init__(self, load: Load) -> None:
        self.borne = Borne()
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._send_due)
        self._addresses = cycle(load.addresses)
        self._lines: set[Line] = set()
        self._free: deque[Line] = deque()
        self._waiting: deque[float] = deque()
        """When calls were due that no connection is free for."""
        self._in_flight: dict[Line, tuple[int, float]] = {}
        """By connection: which request, and when it was due."""
        self._calls = 0
        self._in_a_row = 0
        self._started = self._deadline = 0.0
        self._is_enough = self._is_over = False
        self._done = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    async def connect(self, kept: list[Line]) -> None:
        """Open every connection that is not open yet."""
        lines = [line for line in kept if line.is_open]
        lines += [await self._connected() for _ in range(self._load.connections - len(lines))]
        for line in lines:
            line.answered, line.closed = self._answered, self._closed
        # Calls in a row are to meet one gateway process as well as another, in whatever order they took connections.
        self._free.extend(lines[at] for at in sorted(range(len(lines)), key=lambda at: at * _MIXED % _MIXED_END))
        self._lines.update(lines)

    async def _connected(self) -> Line:
        _, line = await self._loop.create_connection(
            partial(Line, self._answered, self._closed), *next(self._addresses)
        )
        return line

    async def run(self) -> None:
        """Make the calls."""
        self._started = time.perf_counter()
        self._deadline = self._started + self._load.seconds
        timer = self._loop.call_later(self._load.seconds, self._stop)
        if self._load.rate is None:
            for _ in range(min(len(self._free), self._load.calls_max or len(self._free))):
                self._send(self._free.popleft(), time.perf_counter())
        else:
            self._send_due()
        await self._done.wait()
        timer.cancel()
        self.borne.seconds = time.perf_counter() - self._started

    def _send_due(self) -> None:
        """Send every call that is due, and be back when the next one is."""
        now, rate = time.perf_counter(), self._load.rate or 1
        while not self._is_over and not self._is_enough:
            due = self._started + self.borne.due / rate
            if due >= self._deadline:
                return
            if due > now:
                self._alarm.set(due)
                return
            self.borne.due += 1
            if self._free:
                self.borne.late_ms.append((now - due) * 1000)
                self._send(self._free.popleft(), due)
            else:
                self._waiting.append(due)
            self._is_enough = self.borne.due == self._load.calls_max

    def _send(self, line: Line, due: float) -> None:
        request = self._calls % len(self._load.requests)
        self._calls += 1
        if self._load.rate is None:
            self._is_enough = self._is_enough or self._calls == self._load.calls_max
        self._in_flight[line] = (request, due)
        line.ask(self._load.requests[request])

    def _answered(self, line: Line, answer: Answer) -> None:
        """A connection has its answer."""
        request, due = self._in_flight.pop(line)
        borne, milliseconds = self.borne, (answer.at - due) * 1000
        if answer.problem is not None:
            self._fail(Told(request, due, milliseconds, problem=answer.problem))
        else:
            borne.answered += 1
            borne.milliseconds.append(milliseconds)
            if answer.events:
                borne.events += answer.events
                borne.first_ms.append((answer.first_at - due) * 1000)
                borne.gap_ms.append(answer.gap * 1000)
            self._tell(request, due, milliseconds, answer)
        if answer.closes:
            line.abort()
            self._replace(line)
        else:
            self._next(line)

    def _tell(self, request: int, due: float, milliseconds: float, answer: Answer) -> None:
        if not self._load.tells:
            return
        told = Told(request, due, milliseconds, *answer.ids())
        self.borne.told.append(told)
        streak = self._load.until
        if streak is not None:
            self._in_a_row = self._in_a_row + 1 if told.provider == streak.provider else 0
            self.borne.has_streak = self.borne.has_streak or self._in_a_row >= streak.answers
            self._is_enough = self._is_enough or self.borne.has_streak

    def _next(self, line: Line) -> None:
        """What a connection does now that is free."""
        if self._waiting and not self._is_over:
            self._send(line, self._waiting.popleft())
        elif self._load.rate is None and not self._is_over and not self._is_enough:
            self._send(line, time.perf_counter())
        else:
            self._free.append(line)
            self._look_whether_done()

    def _stop(self) -> None:
        """Send nothing more."""
        self._is_over = True
        self._look_whether_done()

    def _look_whether_done(self) -> None:
        if not self._in_flight and (self._is_over or (self._is_enough and not self._waiting)):
            self.borne.unsent = len(self._waiting)
            self._done.set()

    def _fail(self, told: Told) -> None:
        """Something came instead of an answer."""
        self._in_a_row = 0
        self.borne.failed += 1
        if self._load.tells:
            self.borne.told.append(told)
        if len(self.borne.problems) < _PROBLEMS_MAX:
            self.borne.problems.append(told.problem or "")

    def _closed(self, line: Line, problem: str) -> None:
        """A connection was closed from the other end."""
        if line not in self._lines:
            return
        if line in self._in_flight:
            request, due = self._in_flight.pop(line)
            self._fail(Told(request, due, (time.perf_counter() - due) * 1000, problem=problem))
        else:
            self._free.remove(line)
        self._replace(line)

    def _replace(self, line: Line) -> None:
        """Have another connection in its place."""
        self._lines.discard(line)
        connecting = self._loop.create_task(self._connect_another())
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)

    async def _connect_another(self) -> None:
        try:
            line = await self._connected()
        except OSError:
            self._is_over = self._is_over or not self._lines
            self._look_whether_done()
            return
        self._lines.add(line)
        self._next(line)

    def give_up(self) -> None:
        """Nobody waits any more for what is still in flight."""
        now = time.perf_counter()
        self.borne.seconds = now - self._started
        self.borne.unsent = len(self._waiting)
        for line, (request, due) in self._in_flight.items():
            self._fail(Told(request, due, (now - due) * 1000, problem=f"no answer within {ANSWER_SECONDS_MAX} s"))
            self._lines.discard(line)
            line.abort()

    def end(self) -> list[Line]:
        """Hear nothing more; the connections."""
        self._alarm.close()
        lines = [*self._lines]
        self._lines.clear()
        return lines
