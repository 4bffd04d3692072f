"""Bodies that are long on their way: what the key may do is what it may do once the call is whole."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.control_plane import ControlPlane, shared_control_plane
from tests.gateway.fake_provider import whole
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of

from tollgate.gateway.patience import Patience

CHAT, COUNTING = "/api/v1/chat/completions", "/api/anthropic/v1/messages/count_tokens"
PATHS = (CHAT, "/api/v1/responses", "/api/v1/embeddings", "/api/anthropic/v1/messages", COUNTING)


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "late_bodies") as opened:
        yield opened


async def held_back(customer: Customer, path: str, model: str, meanwhile: Callable[[], Awaitable[None]]) -> int:
    """The status of a call of which the last byte is sent once that is done."""
    address = urlsplit(customer.gateway.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = json.dumps({"model": model, "messages": MESSAGES, "max_tokens": 100}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {customer.key}\r\nconnection: close\r\n"
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body[:-1])
    await writer.drain()
    await asyncio.sleep(0.1)
    await meanwhile()
    writer.write(body[-1:])
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def change(customer: Customer, path: str, model: str, **body: Any) -> None:
    """Change something as the organization's manager, and wait until calls obey it."""
    gateway = customer.gateway
    manager = await gateway.key(customer.organization, kind="management")
    headers = {"authorization": f"Bearer {manager['key']}"}
    before = (await customer.ask(model)).status_code
    changed = await gateway.http.patch(path, json=body, headers=headers)
    assert changed.status_code == 200, changed.text
    for _ in range(400):
        if (await customer.ask(model)).status_code != before:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no call obeys it")


async def test_a_policy_that_was_tightened_while_the_body_was_on_its_way_is_obeyed(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())

    async def tighten() -> None:
        await change(customer, "/routing", model, ignore=[provider_of(model)])

    assert await held_back(customer, CHAT, model, tighten) == 404
    assert len(gateway.provider.served_by(provider_of(model))) == 1


@pytest.mark.parametrize("path", [CHAT, COUNTING])
async def test_a_key_that_was_narrowed_meanwhile_no_longer_opens_the_model(gateway: Installation, path: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())

    async def narrow() -> None:
        await change(customer, f"/keys/{customer.key_id}", model, models=["other/model"])

    assert await held_back(customer, path, model, narrow) == 403


async def test_a_key_that_was_disabled_meanwhile_opens_nothing(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())

    async def disable() -> None:
        await change(customer, f"/keys/{customer.key_id}", model, disabled=True)

    assert await held_back(customer, COUNTING, model, disable) == 401


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("is_known", "status"), [(True, 400), (False, 401)])
async def test_a_body_that_does_not_arrive_is_not_waited_for_without_end(
    plane: ControlPlane, path: str, *, is_known: bool, status: int
) -> None:
    plane.app.state.gateway.room.arriving = Patience(0.05)
    key = await plane.a_key(await plane.an_organization(), "inference") if is_known else "nobody"

    async def never_whole() -> AsyncIterator[bytes]:
        yield b'{"model":'
        await asyncio.Event().wait()

    told: list[Any] = []
    pieces = never_whole()

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(pieces), "more_body": True}

    async def send(message: Any) -> None:
        told.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
                  "headers": [(b"authorization", f"Bearer {key}".encode())], "root_path": "", "scheme": "http",
                  "server": ("tollgate.test", 80), "client": None, "http_version": "1.1", "state": {}}  # fmt: skip
    await plane.app(scope, receive, send)

    assert told[0]["status"] == status
    message = json.loads(told[1]["body"])["error"]["message"]
    assert (message == "The body did not arrive in time.") is is_known
