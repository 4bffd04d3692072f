"""The caller behind ASGI: kept alive through silence, and noticed when it leaves, though `send` says nothing."""

import asyncio
from typing import Any

import pytest

from tollgate.gateway import asgi_client
from tollgate.gateway.asgi_client import AsgiClient
from tollgate.gateway.model import ClientGone

HEADERS = {"content-type": "text/event-stream"}


class Server:
    """An ASGI server that swallows what is sent to a caller who is gone, as granian does."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body" and not self.left.is_set():
            self.sent.append(message["body"])


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsgiClient:
    return AsgiClient(server.receive, server.send)


async def test_silence_is_filled_with_comments_between_events(
    server: Server, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_client, "KEEP_ALIVE_SECONDS", 0.05)
    await client.begin(200, HEADERS)
    await client.write(b"data: 1\n\n")
    await asyncio.sleep(0.18)
    await client.write(b"data: 2\n\n")
    await client.finish(b"data: 3\n\n")
    await asyncio.sleep(0.1)
    assert server.sent[0] == b"data: 1\n\n"
    assert server.sent[-2:] == [b"data: 2\n\n", b"data: 3\n\n"]
    assert set(server.sent[1:-2]) == {b": keep-alive\n\n"}
    assert 2 <= len(server.sent) - 3 <= 4


async def test_events_in_time_need_no_comments(
    server: Server, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_client, "KEEP_ALIVE_SECONDS", 0.08)
    await client.begin(200, HEADERS)
    for _ in range(6):
        await client.write(b"data: x\n\n")
        await asyncio.sleep(0.03)
    await client.finish()
    assert b": keep-alive\n\n" not in server.sent


async def test_who_leaves_interrupts_the_wait(server: Server, client: AsgiClient) -> None:
    async def wait() -> None:
        with client.staying():
            await asyncio.sleep(10)

    asyncio.get_running_loop().call_later(0.05, server.left.set)
    with pytest.raises(ClientGone):
        await wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_left_and_was_cancelled_stays_cancelled(server: Server, client: AsgiClient) -> None:
    async def wait() -> None:
        with client.staying():
            await asyncio.sleep(10)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    server.left.set()
    await asyncio.sleep(0)  # Its leaving has been heard of, and the block has not ended yet.
    assert waiting.cancelling() == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_leaves_after_a_block_interrupts_nothing(server: Server, client: AsgiClient) -> None:
    with client.staying():
        await asyncio.sleep(0)
    server.left.set()
    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_left_is_sent_no_more(server: Server, client: AsgiClient) -> None:
    await client.begin(200, HEADERS)
    await client.write(b"data: 1\n\n")
    server.left.set()
    await asyncio.sleep(0.01)
    with pytest.raises(ClientGone):
        await client.write(b"data: 2\n\n")
    with pytest.raises(ClientGone):
        await client.finish()


async def test_a_timeout_of_its_own_stays_one(client: AsgiClient) -> None:
    async def wait() -> None:
        with client.staying():
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await wait()
    client.rest()


async def test_a_cancelled_wait_stays_cancelled(client: AsgiClient) -> None:
    async def wait() -> None:
        with client.staying():
            await asyncio.sleep(10)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    client.rest()


async def test_who_makes_no_room_for_a_piece_is_gone_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_client, "WRITE_SECONDS_MAX", 0.02)
    interrupted: list[BaseException] = []

    async def full(_: Any) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            interrupted.append(error)
            raise

    with pytest.raises(ClientGone):
        await AsgiClient(server.receive, full).begin(200, HEADERS)
    assert len(interrupted) == 1


async def test_a_piece_that_has_to_wait_for_room_is_sent_as_a_whole() -> None:
    taken: list[bytes] = []

    async def slow(message: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0.001)
        taken.append(message["body"])

    client = AsgiClient(Server().receive, slow)
    for piece in (b"data: 1\n\n", b"data: 2\n\n"):
        await client.write(piece)
    client.rest()
    assert taken == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_a_server_that_does_raise_says_the_same(server: Server) -> None:
    async def broken(_: Any) -> None:
        raise OSError("gone")

    with pytest.raises(ClientGone):
        await AsgiClient(server.receive, broken).begin(200, HEADERS)
