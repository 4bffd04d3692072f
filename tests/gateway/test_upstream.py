"""Replies over HTTP: who is interrupted reads on without a gap, a connection serves the next call, nobody is there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
from tests.gateway.fake_provider import DONE, USAGE, chunk
from tests.gateway.scripted import Script
from tests.gateway.test_relay import a_call

from tollgate.gateway.endings import Ending
from tollgate.gateway.model import UpstreamRequest, Wire
from tollgate.gateway.relay import Relay
from tollgate.gateway.upstream import HttpUpstream
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut, ProviderUnreachable

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = [b"<%04d>" % number for number in range(200)]


async def test_an_interrupted_read_loses_nothing() -> None:
    wanted = asyncio.Semaphore(0)

    async def speak(writer: asyncio.StreamWriter) -> None:
        for piece in PIECES:
            await wanted.acquire()
            await _send(writer, piece)
        await _send(writer, b"")

    async with _listening(speak) as (address, _):
        provider = HttpUpstream(connect_seconds=5, first_byte_seconds=5, idle_seconds=5)
        reply = await provider.send(UpstreamRequest(address, {}, b"", stream=True))
        read, interrupted = b"", 0
        for turn in range(len(PIECES)):
            if turn % 2:  # The piece may come while it is interrupted that it was waited for.
                wanted.release()
            try:
                async with asyncio.timeout(0.0001 * (turn % 5)):
                    read += await reply.piece()
            except TimeoutError:
                interrupted += 1
            if not turn % 2:
                wanted.release()
            while len(read) < sum(map(len, PIECES[: turn + 1])):
                read += await reply.piece()
        await reply.close()
        await provider.close()
    assert read == b"".join(PIECES)
    assert interrupted > len(PIECES) // 3


async def test_a_host_that_accepts_no_connection_cannot_be_reached_however_short_the_wait_for_an_answer() -> None:
    with socket.socket() as listening, socket.socket() as one, socket.socket() as other:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (one, other):  # They fill the queue, and the kernel drops what comes after them.
            waiting.settimeout(0)
            waiting.connect_ex(listening.getsockname())
        provider = HttpUpstream(connect_seconds=5, first_byte_seconds=1, idle_seconds=5)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(ProviderUnreachable):
            await provider.send(UpstreamRequest(address, {}, b"", stream=False))
        await provider.close()


async def test_the_connection_of_a_stream_that_ended_serves_the_next() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        for piece in (chunk({"content": "Hello!"}), chunk(finish="stop", usage=USAGE), DONE):
            await _send(writer, piece)
        await asyncio.sleep(0.005)
        await _send(writer, b"")

    async with _listening(speak) as (address, connections):
        provider = HttpUpstream(connect_seconds=1, first_byte_seconds=1, idle_seconds=1)
        for _ in range(5):
            script = Script(Wire.CHAT, [])
            call = a_call(script, Wire.CHAT)
            reply = await provider.send(UpstreamRequest(address, {}, b"", stream=True))
            speech = call.crossing.to(call.attempts[0].candidate)
            relay = Relay(reply, speech, supports_cancel=True, drain_seconds=1)
            await relay.open()
            outlet = relay.outlet(model="acme/model", generation_id="gen_1", created=1)
            await relay.run(script.caller, {}, outlet)
            script.caller.rest()
            assert relay.ending is Ending.FINISHED
            await relay.close()
            await asyncio.sleep(0.005)
        await provider.close()
    assert len(connections) == 1


@pytest.mark.parametrize(("body", "told"), [
    (b"content-length: 2\r\n\r\n{}", None),
    (b"content-length: 9\r\n\r\n{}", "was not complete within 1 s"),
    (b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", "stalled for 1 s"),
    (b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", None),
])  # fmt: skip
async def test_a_body_is_waited_for_whether_or_not_it_says_how_long_it_is(body: bytes, told: str | None) -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(body)
        await writer.drain()

    async with _listening(speak, head=b"HTTP/1.1 200 OK\r\n") as (address, _):
        provider = HttpUpstream(connect_seconds=1, first_byte_seconds=1, idle_seconds=1)
        reply = await provider.send(UpstreamRequest(address, {}, b"", stream=False))
        with nullcontext() if told is None else pytest.raises(ProviderTimedOut, match=told):
            assert await reply.body() == b"{}"
        await reply.close()
        await provider.close()


@pytest.mark.parametrize("length", [b"content-length: 9", b"transfer-encoding: chunked"])
async def test_a_body_that_breaks_off_is_none(length: bytes) -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(length + b"\r\n\r\n2\r\n{}")
        await writer.drain()
        writer.transport.abort()

    async with _listening(speak, head=b"HTTP/1.1 200 OK\r\n") as (address, _):
        provider = HttpUpstream(connect_seconds=1, first_byte_seconds=1, idle_seconds=1)
        with pytest.raises(ProviderFailed):
            await (await provider.send(UpstreamRequest(address, {}, b"", stream=False))).body()
        await provider.close()


async def _send(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    await writer.drain()


@asynccontextmanager
async def _listening(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], head: bytes = HEAD
) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """A provider that answers like this; its address, and the connections it was reached by."""
    connections: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(head)
                await answer(writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connections
        for writer in connections:
            writer.transport.abort()
