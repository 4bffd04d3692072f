"""Somebody's server on this machine, friendly or not: what arrives is kept, and what is answered is up to the test."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Answering: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """A server, and what it was sent."""

    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    answering: Answering | None = None
    answers: list[int] = field(default_factory=list)
    """Statuses to answer with, one after the other; then 200."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.arrived.append(Arrived(head[0].split(" ")[1], headers, body))
            if self.answering is not None:
                await self.answering(writer)
            else:
                await saying(self.answers.pop(0) if self.answers else 200)(writer)
        with suppress(ConnectionError):
            writer.close()


def saying(status: int, body: bytes = b"ok", *more: str) -> Answering:
    """An ordinary answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *more]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()

    return answer


async def dropping(writer: asyncio.StreamWriter) -> None:
    """No answer: the connection is broken off."""
    writer.transport.abort()


async def silent(writer: asyncio.StreamWriter) -> None:
    """No answer, and no end."""
    del writer
    await asyncio.sleep(3600)


async def trickling(writer: asyncio.StreamWriter) -> None:
    """An answer whose body does not come."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
    await writer.drain()
    await asyncio.sleep(3600)


async def endless(writer: asyncio.StreamWriter) -> None:
    """An answer without end, compressed as it claims."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A server on a port of its own, until the block ends."""
    served, under_way = Receiver(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await served.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            under_way.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
