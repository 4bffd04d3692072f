"""A fake provider in a process of its own, which speaks OpenAI's chat format and is never what a gateway waits for.

Every answer has an id of its own, and a line in a log: the truth that a ledger is held against. The log is written in
batches, beside the answering; `scripts/benchmarks/provided.py` starts the process and reads the log.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

import uvloop
from scripts.benchmarks import behaviour as behaviours
from scripts.benchmarks.answers import VARIANTS, Prepared, answer_id, body, prepared, refusal, with_id
from scripts.benchmarks.behaviour import Behaviour, Fault

LOG_PATH = "/log"
"""A request for it is answered when everything that was served until then is in the log."""
BEHAVIOUR_PATH = "/behaviour"
"""What is sent there is the behaviour from then on."""

_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
# None of them can occur inside a JSON string, where quotes are escaped.
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]*)"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_INCLUDE_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_MIXED, _MIXED_END = 2_654_435_761, 2**32
"""Numbers in order, multiplied by the one and taken modulo the other, are spread evenly, and in no order."""
_LOG_SECONDS = 0.2
_MODELS = b'{"object": "list", "data": []}'
_GARBAGE = b"<html>Welcome!</html>"


class _Kind(NamedTuple):
    """How calls of a model are answered."""

    behaviour: Behaviour
    answers: list[Prepared]


class _Provider:
    """What all connections share."""

    def __init__(self, behaviour: Behaviour, log: IO[bytes]) -> None:
        self.loop = asyncio.get_running_loop()
        self._behaviour = behaviour
        self._log = log
        self._rows: list[bytes] = []
        self._run = os.getpid()
        self._number = 0
        self._kinds: dict[bytes, _Kind] = {}

    def next(self, model: bytes) -> tuple[int, bytes, _Kind]:
        """The next answer's number and id, and what it is one of."""
        self._number += 1
        kind = self._kinds.get(model)
        if kind is None:
            behaviour = self._behaviour.of(model.decode())
            kind = _Kind(behaviour, prepared(model.decode(), behaviour))
            self._kinds[model] = kind
        return self._number, answer_id(self._run, self._number), kind

    def behave(self, behaviour: Behaviour) -> None:
        """From now on."""
        self._behaviour = behaviour
        self._kinds.clear()

    def note(self, *columns: bytes) -> None:
        """Have an answer in the log, soon."""
        self._rows.append(b"\t".join(columns))

    def write_log(self) -> None:
        """Have all of them in it now."""
        if self._rows:
            self._log.write(b"\n".join(self._rows) + b"\n")
            self._rows.clear()

    def write_log_again_and_again(self) -> None:
        self.write_log()
        self.loop.call_later(_LOG_SECONDS, self.write_log_again_and_again)


class _Connection(asyncio.Protocol):
    """One connection, which may ask for the next answer before it has the last."""

    def __init__(self, provider: _Provider) -> None:
        self._provider = provider
        self._transport: asyncio.WriteTransport = asyncio.WriteTransport()
        self._received = b""
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

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
            self._answer_other(asked, begin)
            return
        number, answer, kind = self._provider.next(model[1])
        ready = kind.answers[number % VARIANTS]
        fault = _fault(kind.behaviour, number)
        streamed = _STREAM.search(asked, begin) is not None
        is_told = not streamed or ready.streamed is ready.untold or _INCLUDE_USAGE.search(asked, begin) is not None
        quantities, how = ready.quantities if is_told else b"", b"streamed" if streamed else b"whole"
        note = partial(self._provider.note, answer, model[1], quantities, how)
        if fault is not None and fault is not Fault.CUT:
            note(fault.encode())
            self._suffer(fault)
            return
        pieces = ready.whole if not streamed else ready.streamed if is_told else ready.untold
        if fault is Fault.CUT:
            pieces = pieces[: len(pieces) // 2] or (pieces[0][: -len(pieces[0]) // 4],)
        answering = _Answering(self, kind.behaviour, answer, pieces, note, fault)
        self._answering = True
        if kind.behaviour.first_ms:
            self._provider.loop.call_later(kind.behaviour.first_ms / 1000, answering.step, 0)
        else:
            answering.step(0)

    def _answer_other(self, asked: bytes, begin: int) -> None:
        """Somebody looks whether there is anybody, wants the log, or another behaviour."""
        if asked.startswith(b"HEAD"):
            self.write(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
            return
        if asked.startswith(b"GET " + LOG_PATH.encode()):
            self._provider.write_log()
        elif asked.startswith(b"PUT " + BEHAVIOUR_PATH.encode()):
            self._provider.behave(behaviours.read(asked[begin:].decode()))
        self.write(body(200, _MODELS))

    def _suffer(self, fault: Fault) -> None:
        if fault is Fault.STALL:
            self._answering = True
        elif fault is Fault.REFUSED:
            self._transport.abort()
        elif fault is Fault.GARBAGE:
            self.write(body(200, _GARBAGE))
        else:
            self.write(refusal(int(fault)))

    @property
    def is_open(self) -> bool:
        """Whether anybody hears what is said."""
        return not self._transport.is_closing()

    def write(self, text: bytes) -> None:
        """Say it."""
        self._transport.write(text)

    def soon(self, gap_ms: float, step: "partial[None]") -> None:
        """Go on, but not in the same write."""
        if gap_ms:
            self._provider.loop.call_later(gap_ms / 1000, step)
        else:
            self._provider.loop.call_soon(step)

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
    note: "partial[None]"
    """What is said to the log of it, but how it ended."""
    fault: Fault | None

    def step(self, at: int) -> None:
        """Say what comes next, and have what comes after it said soon."""
        connection, next_at = self.connection, at + self.behaviour.pack
        if not connection.is_open:
            self.note(b"left")
            return
        connection.write(with_id(self.pieces[at:next_at], self.answer))
        if next_at < len(self.pieces):
            connection.soon(self.behaviour.gap_ms, partial(self.step, next_at))
            return
        self.note(b"served" if self.fault is None else self.fault.encode())
        connection.end(cut=self.fault is not None)


def _fault(behaviour: Behaviour, number: int) -> Fault | None:
    if behaviour.fault is None or number * _MIXED % _MIXED_END >= behaviour.fault_rate * _MIXED_END:
        return None
    return behaviour.fault


async def _serve(behaviour: Behaviour, log: IO[bytes]) -> None:
    """Serve until whoever started us closes our standard input."""
    provider = _Provider(behaviour, log)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(provider), "127.0.0.1", 0, backlog=1024)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    provider.write_log_again_and_again()
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await ended.wait()
    provider.write_log()


def main() -> None:
    """`python -m scripts.benchmarks.provider BEHAVIOUR LOG`."""
    told, log_file = sys.argv[1:]
    with Path(log_file).open("ab", buffering=0) as log, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(behaviours.read(told), log))


if __name__ == "__main__":
    main()
