"""A provider of our own on loopback, in any format: it does what a test says and remembers what it served."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 300,
    "total_tokens": 1300,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
"""The cached call of billing-rules §3: 0.00082 USD at the seed model's prices."""
WORDS = ("Hello", ", ", "wörld", " 🌍", "!")
DONE = b"data: [DONE]\n\n"


@dataclass
class Served:
    """One request that reached the provider: the ground truth of a test."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    events: int = 0
    """How many pieces of a stream were sent."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the gateway closed the connection before the answer was complete."""
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything was sent."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Line:
    """One connection with a request on it, for a behaviour to answer."""

    def __init__(self, served: Served, writer: asyncio.StreamWriter) -> None:
        self.served = served
        self._writer = writer

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        self._writer.write(_head(status, given) + body)
        await self._writer.drain()

    async def begin(self) -> None:
        """The head of a stream."""
        given = {"content-type": "text/event-stream", "transfer-encoding": "chunked", "connection": "close"}
        self._writer.write(_head(200, given))
        await self._writer.drain()

    async def send(self, piece: bytes) -> None:
        """A piece of a stream, in a packet of its own."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await self._writer.drain()
        self.served.events += 1

    async def finish(self) -> None:
        """The proper end of a stream."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def cut(self) -> None:
        """Break the connection in the middle of whatever goes over it."""
        self._writer.transport.abort()


Behaviour = Callable[[Line], Awaitable[None]]


def whole(
    content: str = "Hello!", *, usage: Any = USAGE, finish: str | None = "stop",
    headers: Mapping[str, str] | None = None, **extra: Any,
) -> Behaviour:  # fmt: skip
    """A whole chat completion."""
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "upstream-name",
            "choices": [choice], "usage": usage, **extra}  # fmt: skip
    return body_of(json.dumps(body).encode(), headers=headers)


def body_of(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Behaviour:
    """An answer of these bytes."""

    async def behave(line: Line) -> None:
        await line.answer(status, body, headers)

    return behave


def refusal(status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Behaviour:
    """An error in OpenAI's shape."""
    return body_of(json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode(), status, headers)


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **extra: Any) -> bytes:
    """One event of a stream, as OpenAI sends it; `choices=[]` among the extras overrides the choice."""
    choices = [{"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}]
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
                  "model": "upstream-name", "choices": choices, **extra})  # fmt: skip


def event(value: Any, name: str | None = None) -> bytes:
    """One event of a stream, with a name where its format gives events names."""
    said = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return (b"" if name is None else b"event: " + name.encode() + b"\n") + b"data: " + said + b"\n\n"


def spoken(words: Iterable[str] = WORDS, **extra: Any) -> list[bytes]:
    """The events of an answer up to but not including its end."""
    return [
        chunk({"role": "assistant", "content": ""}, **extra),
        *(chunk({"content": word}, **extra) for word in words),
    ]


def streamed(*, usage: Any = USAGE, words: Sequence[str] = WORDS) -> Behaviour:
    """A stream in OpenAI's own shape."""
    ending = [chunk(finish="stop", usage=None), chunk(choices=[], usage=usage), DONE]
    return stream([*spoken(words, usage=None), *ending])


def stream(events: Sequence[bytes], *, pause: float = 0, cut: bool = False) -> Behaviour:
    """A stream of these pieces, a pause after each; with `cut` it breaks off after the last."""

    async def behave(line: Line) -> None:
        await line.begin()
        for piece in events:
            await line.send(piece)
            await asyncio.sleep(pause)
        if cut:
            line.cut()
        else:
            await line.finish()

    return behave


async def silent(line: Line) -> None:
    """No answer until the gateway has had enough."""
    await line.served.left.wait()


async def silent_stream(line: Line) -> None:
    """A stream that begins and says nothing."""
    await line.begin()
    await line.served.left.wait()


async def dead(line: Line) -> None:
    """The connection breaks before there is an answer."""
    line.cut()


class FakeProvider:
    """Answers everything below `/<name>/` as the behaviour of that name says."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.served: list[Served] = []
        self.port = 0
        self._connections: set[asyncio.StreamWriter] = set()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def served_by(self, name: str) -> list[Served]:
        return [served for served in self.served if served.path.startswith(f"/{name}/")]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeProvider"]:
        """Listens; again on the same port if it has listened before."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
            for connection in self._connections:
                connection.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._serve(reader, writer):
                pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._connections.discard(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether another may follow on the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        served = Served(head[0].split(" ")[1], headers, body)
        self.served.append(served)
        watching = asyncio.ensure_future(_watch(reader, served))
        try:
            await self.behaviours[served.path.split("/")[1]](Line(served, writer))
            if not served.left.is_set() and not writer.transport.is_closing():
                served.complete.set()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        return not served.left.is_set() and not served.events


async def _watch(reader: asyncio.StreamReader, served: Served) -> None:
    # Nothing is pipelined, so whatever can be read before the answer is complete is the end.
    with suppress(ConnectionError):
        await reader.read(1)
    served.left.set()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
