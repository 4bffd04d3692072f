"""An ASGI application on loopback, with HTTP/1.1 just as far as the double needs it, and connections that can break."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from tests.payments.stripe_double.app import ABORT, App


@asynccontextmanager
async def served(app: App) -> AsyncIterator[str]:
    """The URL at which the application answers for as long as the block runs."""
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(app, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _converse(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                await _answer(app, reader, writer)
    finally:
        writer.close()


async def _answer(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    path, _, query = target.partition("?")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines if line)]
    body = await reader.readexactly(int(dict(headers).get(b"content-length", b"0")))
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
    status, given = 500, list[tuple[bytes, bytes]]()

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, given
        if message["type"] == ABORT:
            writer.transport.abort()
        elif message["type"] == "http.response.start":
            status, given = message["status"], message["headers"]
        else:
            writer.write(_head(status, [*given, (b"content-length", b"%d" % len(message["body"]))]) + message["body"])
            await writer.drain()

    await app(scope, receive, send)


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in headers), b"", b""])
