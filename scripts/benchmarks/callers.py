"""Callers who do not wait for each other: so many calls a second, each timed from the moment it was to be sent.

A gateway that stalls delays the calls behind it as well, and they say so: a caller who only asks again once it has its
answer would not notice.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import UUID

import uvloop
from scripts.benchmarks.group import ANSWER_SECONDS_MAX, BenchFailed, Group

_MIXED = 2_654_435_761
"""Multiplied by it, numbers in order come out in none."""
_TOLD_CHARACTERS_MAX = 300


class Called(NamedTuple):
    """A call as its caller knows it."""

    number: int
    streamed: bool
    due: float
    """When it was to be sent, in seconds of `time.perf_counter`."""
    milliseconds: float
    """From then until its answer was there to the last byte."""
    call_id: UUID | None = None
    provider: str | None = None
    cost: Decimal = Decimal(0)
    problem: str | None = None
    """What it got instead of its answer."""


class _Wrong(Exception):
    """What came is no answer to what was asked."""


@dataclass(slots=True)
class _Line:
    """A connection that is kept for the next call."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def prompt_of(number: int) -> str:
    """What a call asks, and who it says asks: its answer, and its record, are found by it."""
    return f"call {number}"


class Callers:
    """Connections to a group that are open for as long as the block runs, and that calls take in turn."""

    def __init__(self, group: Group, model: str, *, connections: int, rate: int) -> None:
        self._address = urlsplit(group.base_url)
        self._key = group.inference_key
        self._model = model
        self._count = connections
        self._rate = rate
        self._numbers = itertools.count(1)
        self._free: asyncio.Queue[_Line] = asyncio.Queue()
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._loop.run(self._connect_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait().writer.transport.abort()
        self._loop.__exit__(kind, error, trace)

    async def _connect_all(self) -> None:
        lines = [await self._connect() for _ in range(self._count)]
        # Calls in a row are to meet one gateway process as well as another, in whatever order they took connections.
        for at in sorted(range(self._count), key=lambda at: at * _MIXED % 2**32):
            self._free.put_nowait(lines[at])

    async def _connect(self) -> _Line:
        return _Line(*await asyncio.open_connection(self._address.hostname, self._address.port))

    def make(self, calls_max: int, is_enough: Callable[[Called], bool] = lambda _: False) -> list[Called]:
        """So many calls, each when it is due, or until an answer is enough; back when every one has its answer.

        Raises:
            BenchFailed: there is nobody to call any more.
        """
        try:
            return self._loop.run(self._make(calls_max, is_enough))
        except* OSError as errors:
            raise BenchFailed("The group does not take connections any more.") from errors

    async def _make(self, calls_max: int, is_enough: Callable[[Called], bool]) -> list[Called]:
        made: list[Called] = []
        enough = asyncio.Event()

        async def one(number: int, due: float) -> None:
            called = await self._call(number, due)
            made.append(called)
            if is_enough(called):
                enough.set()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as calling:
            for at in range(calls_max):
                due = started + at / self._rate
                await asyncio.sleep(due - time.perf_counter())
                if enough.is_set():
                    break
                calling.create_task(one(next(self._numbers), due))
        return sorted(made)

    async def _call(self, number: int, due: float) -> Called:
        """One call, over whichever connection has been free for longest."""
        streamed = number % 2 == 0
        line, is_reusable, read = await self._free.get(), False, _Read()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                line.writer.write(self._request(number, streamed=streamed))
                headers, body = await _answer(line.reader)
            is_reusable = headers.get("connection") != "close"
            read = _read(headers, body, prompt_of(number), streamed=streamed)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, _Wrong) as error:
            read = _Read(problem=str(error) or type(error).__name__)
        finally:
            milliseconds = (time.perf_counter() - due) * 1000
            self._free.put_nowait(line if is_reusable else await self._instead_of(line))
        return Called(number, streamed, due, milliseconds, *read)

    async def _instead_of(self, line: _Line) -> _Line:
        line.writer.transport.abort()
        return await self._connect()

    def _request(self, number: int, *, streamed: bool) -> bytes:
        said = prompt_of(number)
        question: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": said}],
            "user": said,
            "max_tokens": 16,
        }
        if streamed:
            question |= {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(question)
        return (
            f"POST {self._address.path}/chat/completions HTTP/1.1\r\nhost: {self._address.netloc}\r\n"
            f"authorization: Bearer {self._key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()


class _Read(NamedTuple):
    """What an answer says, as `Called` has it."""

    call_id: UUID | None = None
    provider: str | None = None
    cost: Decimal = Decimal(0)
    problem: str | None = None


async def _answer(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Headers, the status among them, and body."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs} | {"": status.split(" ")[1]}
    if headers.get("transfer-encoding") != "chunked":
        return headers, await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return headers, body


def _read(headers: dict[str, str], body: bytes, asked: str, *, streamed: bool) -> _Read:
    """What an answer says.

    Raises:
        _Wrong: it is none.
    """
    try:
        said, usage = _streamed(body.decode()) if streamed else _whole(body)
        if headers[""] == "200" and said == asked:
            call_id = UUID(headers["x-generation-id"].removeprefix("gen_"))
            return _Read(call_id, headers["x-tollgate-provider"], Decimal(usage["cost"]))
    except (ValueError, LookupError, TypeError):
        pass
    raise _Wrong(f"{headers['']} {body.decode(errors='replace')[-_TOLD_CHARACTERS_MAX:]}")


def _whole(body: bytes) -> tuple[str, Any]:
    """What a whole answer says, and what it used."""
    answer = json.loads(body, parse_float=Decimal)
    choice = answer["choices"][0]
    return choice["message"]["content"] if choice["finish_reason"] == "stop" else "", answer["usage"]


def _streamed(body: str) -> tuple[str, Any]:
    """What a stream says that came to its end, and what it used."""
    data = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    *events, last = [json.loads(event, parse_float=Decimal) for event in data if event != "[DONE]"]
    choices = [choice for event in events for choice in event["choices"]]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    is_whole = data[-1] == "[DONE]" and choices[-1]["finish_reason"] == "stop"
    return said if is_whole else "", last["usage"]
