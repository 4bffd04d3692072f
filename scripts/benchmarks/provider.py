"""A fake provider in a process of its own, which speaks OpenAI's chat format and is never what a gateway waits for.

Every answer has an id of its own, and a line in a log: the truth that a ledger is held against. The log is written in
batches, beside the answering. `scripts/benchmarks/provided.py` starts the process, tells it over its standard input
what to do, and reads the log.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

import uvloop
from scripts.benchmarks import behaviour as behaviours
from scripts.benchmarks import machine
from scripts.benchmarks.answers import NO_ANSWER, VARIANTS, Prepared, answer_id, body, prepared, refusal, with_id
from scripts.benchmarks.behaviour import Behaviour, Fault
from scripts.benchmarks.dead_port import dead_port

_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
# None of them can occur inside a JSON string, where quotes are escaped.
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]*)"')
_CALL = re.compile(rb'"content"\s*:\s*"(call \d+)"')
"""A prompt that says which of its caller's calls it is."""
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_INCLUDE_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_MIXED, _MIXED_END = 2_654_435_761, 2**32
"""Numbers in order, multiplied by the one and taken modulo the other, are spread evenly, and in no order."""
_LOG_SECONDS = 0.2
_MODELS = b'{"object": "list", "data": []}'
_STATUSES = {Fault.LIMITED: 429, Fault.STORM: 500}

Note = Callable[[bytes], None]
"""Says to the log how an answer ended."""


class _Log:
    """What was served, and the numbers of what will be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows: list[bytes] = []
        self._run = os.getpid()
        self._number = 0

    def next(self) -> tuple[int, bytes]:
        """The next answer's number, and its id."""
        self._number += 1
        return self._number, answer_id(self._run, self._number)

    def note(self, *columns: bytes) -> None:
        """Have an answer in it, soon."""
        self._rows.append(b"\t".join(columns))

    def write(self) -> None:
        """Have all of them in it now."""
        if self._rows:
            self._file.write(b"\n".join(self._rows) + b"\n")
            self._rows.clear()

    async def write_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_LOG_SECONDS)
            self.write()


class _Kind(NamedTuple):
    """How calls of a model are answered."""

    behaviour: Behaviour
    answers: list[Prepared]


class _Port:
    """A port, and how it behaves."""

    def __init__(self, log: _Log) -> None:
        self.number = 0
        self.log = log
        self.connections: set[_Connection] = set()
        self._behaviour = Behaviour()
        self._kinds: dict[bytes, _Kind] = {}
        self._server: asyncio.Server | None = None
        self._dead = ExitStack()

    async def behave(self, behaviour: Behaviour) -> None:
        """From now on."""
        self._behaviour = behaviour
        self._kinds.clear()
        self._dead.close()
        if behaviour.is_dark:
            await self._hang_up()
            if behaviour.fault is Fault.DEAD:
                self._dead.enter_context(dead_port(self.number))
        elif self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Connection(self), "127.0.0.1", self.number, backlog=1024, reuse_address=True
            )
            self.number = self._server.sockets[0].getsockname()[1]

    async def _hang_up(self) -> None:
        for connection in [*self.connections]:
            connection.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def kind(self, model: bytes) -> _Kind:
        """How calls of this model are answered now."""
        kind = self._kinds.get(model)
        if kind is None:
            behaviour = self._behaviour.of(model.decode())
            kind = _Kind(behaviour, prepared(model.decode(), behaviour))
            self._kinds[model] = kind
        return kind


class _Connection(asyncio.Protocol):
    """One connection, which may ask for the next answer before it has the last."""

    def __init__(self, port: _Port) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport = asyncio.WriteTransport()
        self._received = b""
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._port.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._port.connections.discard(self)

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        self._go_on()

    def _go_on(self) -> None:
        """Answer what has been asked for."""
        while self._received and not self._answering:
            head_end = self._received.find(_HEAD_END)
            if head_end < 0:
                return
            length, begin = _LENGTH.search(self._received, 0, head_end), head_end + len(_HEAD_END)
            end = begin + int(length[1]) if length else begin
            if length is None and _CHUNKED.search(self._received, 0, head_end):
                end = self._received.find(_CHUNKS_END, head_end) + len(_CHUNKS_END)
                if end < begin:
                    return
            if len(self._received) < end:
                return
            asked, self._received = self._received[:end], self._received[end:]
            self._answer(asked, begin)

    def _answer(self, asked: bytes, begin: int) -> None:
        model = _MODEL.search(asked, begin)
        if model is None:
            # Somebody looks whether there is anybody.
            self._transport.write(NO_ANSWER if asked.startswith(b"HEAD") else body(200, _MODELS))
            return
        number, answer = self._port.log.next()
        behaviour, answers = self._port.kind(model[1])
        ready, fault = answers[number % VARIANTS], _fault(behaviour, number)
        streamed, call = _STREAM.search(asked, begin) is not None, _CALL.search(asked, begin)
        is_told = not streamed or ready.streamed is ready.untold or _INCLUDE_USAGE.search(asked, begin) is not None
        quantities, how = ready.quantities if is_told else b"", b"streamed" if streamed else b"whole"
        note = partial(self._port.log.note, answer, model[1], call[1] if call else b"", quantities, how)
        pieces = ready.whole if not streamed else ready.streamed if is_told else ready.untold
        if fault is Fault.CUT:
            pieces = pieces[: len(pieces) // 2] or (pieces[0][: -len(pieces[0]) // 4],)
        elif fault is not None:
            note(fault.encode())
            self._suffer(fault, ready, streamed=streamed)
            return
        self._answering = True
        answering = _Answering(self, behaviour, answer, pieces, note, fault)
        if behaviour.first_ms:
            self._loop.call_later(behaviour.first_ms / 1000, answering.step, 0)
        else:
            answering.step(0)

    def _suffer(self, fault: Fault, ready: Prepared, *, streamed: bool) -> None:
        if fault is Fault.REFUSED:
            self.abort()
        elif fault is Fault.GARBAGE:
            self._transport.write(body(200, b"<html>Welcome!</html>"))
        elif fault in _STATUSES:
            self._transport.write(refusal(_STATUSES[fault]))
        else:
            # Whatever else is asked over this connection is not heard.
            self._answering = True
            if fault is Fault.HANG_IN_BODY:
                whole = ready.whole[0]
                self._transport.write(ready.head if streamed else whole[: len(whole) // 2])

    @property
    def is_open(self) -> bool:
        """Whether anybody hears what is said."""
        return not self._transport.is_closing()

    def write(self, text: bytes) -> None:
        """Say it."""
        self._transport.write(text)

    def soon(self, gap_ms: float, step: Callable[[int], None], at: int) -> None:
        """Go on, but not in the same write."""
        if gap_ms:
            self._loop.call_later(gap_ms / 1000, step, at)
        else:
            self._loop.call_soon(step, at)

    def end(self, *, cut: bool) -> None:
        """The answer is over."""
        self._answering = False
        if cut:
            self._transport.close()
        else:
            self._go_on()


@dataclass(slots=True)
class _Answering:
    """An answer under way."""

    connection: _Connection
    behaviour: Behaviour
    answer: bytes
    pieces: Sequence[bytes]
    note: Note
    fault: Fault | None

    def step(self, at: int) -> None:
        """Say what comes next, and have what comes after it said soon."""
        connection, next_at = self.connection, at + self.behaviour.pack
        if not connection.is_open:
            self.note(b"left")
            return
        connection.write(with_id(self.pieces[at:next_at], self.answer))
        if next_at < len(self.pieces):
            connection.soon(self.behaviour.gap_ms, self.step, next_at)
            return
        self.note(b"served" if self.fault is None else self.fault.encode())
        connection.end(cut=self.fault is not None)


def _fault(behaviour: Behaviour, number: int) -> Fault | None:
    if behaviour.fault is None or number * _MIXED % _MIXED_END >= behaviour.fault_rate * _MIXED_END:
        return None
    return behaviour.fault


async def _serve(count: int, file: IO[bytes]) -> None:
    """Serve on so many ports until whoever started us closes our standard input."""
    log = _Log(file)
    ports = [_Port(log) for _ in range(count)]
    for port in ports:
        await port.behave(Behaviour())
    writing = asyncio.create_task(log.write_again_and_again())
    _say([port.number for port in ports])
    while line := await asyncio.to_thread(sys.stdin.readline):
        for at, told in json.loads(line).items():
            await ports[int(at)].behave(behaviours.read(told))
        log.write()
        _say(None)
    writing.cancel()
    log.write()


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """`python -m scripts.benchmarks.provider PORTS LOG`."""
    machine.leave_interrupts()
    count, log_file = sys.argv[1:]
    with Path(log_file).open("ab", buffering=0) as log, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(count), log))


if __name__ == "__main__":
    main()
