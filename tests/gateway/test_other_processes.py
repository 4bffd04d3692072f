"""What one process changes, every other one heeds on its next call, whether or not it has heard of the change."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.gateway.fake_client import FakeClient
from tests.gateway.fake_provider import whole
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of, serving
from tests.gateway.outlooks import an_outlook
from tests.metering.scene import LEASE
from tests.safes import a_safe

from tollgate.catalog.model import Format
from tollgate.entrypoints.errors import status_of
from tollgate.gateway.model import Wire
from tollgate.gateway.sandbox import SandboxUpstream
from tollgate.gateway.service import Gateway, Inquiry, Surroundings
from tollgate.gateway.snapshot import Shelf
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import SystemClock
from tollgate.kit.errors import AuthenticationFailed, TollgateError
from tollgate.metering.service import Meter

DEARER = {"prompt": "4", "input_cache_read": "1", "completion": "16"}
CLOCK = SystemClock()


@pytest.fixture(scope="module")
async def other(gateway: Installation) -> AsyncIterator[str]:
    """The base URL of a second process of the same installation."""
    async with serving(gateway.database_url) as base_url:
        yield base_url


async def cost_at(base_url: str, customer: Customer, model: str) -> Any:
    body = {"model": model, "messages": MESSAGES}
    answer = await customer.gateway.post(customer.key, body, base_url=base_url)
    return answer.json(parse_float=str)["usage"]["cost"]


async def test_a_new_price_charges_the_next_call_of_every_process(gateway: Installation, other: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    assert [await cost_at(url, customer, model) for url in (other, gateway.base_url)] == ["0.00082"] * 2
    for tenfold in range(1, 6):
        prices = {kind: str(Decimal(price) * 10**tenfold / 1000) for kind, price in DEARER.items()}
        await gateway.publish(model, provider_of(model), prices)
        expected = Decimal("0.0082") * 10**tenfold / 1000
        for url in (other, gateway.base_url):
            assert Decimal(await cost_at(url, customer, model)) == expected


async def test_a_new_model_can_be_called_at_every_process(gateway: Installation, other: str) -> None:
    customer = await gateway.customer()
    for _ in range(5):
        assert await cost_at(other, customer, await gateway.model(whole())) == "0.00082"


async def test_a_disabled_endpoint_is_not_called_by_any_process(gateway: Installation, other: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    assert await cost_at(other, customer, model) == "0.00082"
    headers = {"authorization": f"Bearer {gateway.operator_key}"}
    listed = await gateway.http.get("/admin/endpoints", params={"model": model}, headers=headers)
    path = f"/admin/endpoints/{listed.json()['data'][0]['id']}"
    changed = await gateway.http.patch(path, json={"enabled": False}, headers=headers)
    assert changed.status_code == 200, changed.text
    answer = await gateway.post(customer.key, {"model": model, "messages": MESSAGES}, base_url=other)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "no_endpoint")


async def test_a_revoked_key_is_refused_by_every_process(gateway: Installation, other: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    manager = (await gateway.key(customer.organization, kind="management"))["key"]
    for url in (other, gateway.base_url):
        assert await cost_at(url, customer, model) == "0.00082"
    headers = {"authorization": f"Bearer {manager}"}
    revoked = await gateway.http.delete(f"/keys/{customer.key_id}", headers=headers)
    assert revoked.is_success, revoked.text
    for url in (other, gateway.base_url):
        answer = await gateway.post(customer.key, {"model": model, "messages": MESSAGES}, base_url=url)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication")
    assert len(await customer.calls()) == 2


class Deaf:
    """A gateway process that hears no announcement: what it knows, it has read itself."""

    def __init__(self, database: Database, pool: "asyncpg.Pool[asyncpg.Record]", url: str) -> None:
        self.ring = KeyRing(pool, database_url=url)
        self.ring._listening = True
        self.shelf = Shelf(database, CLOCK, database_url=url)
        self.gateway = Gateway(
            keys=self.ring,
            outlook=an_outlook(self.shelf, pool, CLOCK),
            meter=Meter(pool, CLOCK, a_safe(), settle_timeout_seconds=5, lease=LEASE),
            upstreams={Format.SANDBOX: SandboxUpstream()},
            clock=CLOCK,
            surroundings=Surroundings(body_bytes_max=1000, drain_seconds=1, status_of=status_of),
        )

    async def call(self, customer: Customer, model: str) -> FakeClient:
        client = FakeClient()
        body = json.dumps({"model": model, "messages": MESSAGES}).encode()
        principal = (await self.gateway.door.authenticate([(b"x-api-key", customer.key.encode())])).principal
        await self.gateway.serve(Inquiry(principal, Wire.CHAT, body, {}), client)
        return client


@pytest.fixture
async def deaf(gateway: Installation) -> AsyncIterator[Deaf]:
    opened = databases.connect(gateway.database_url)
    pool = await databases.connect_pool(gateway.database_url, connections_max=4)
    yield Deaf(opened, pool, gateway.database_url)
    await pool.close()
    await opened.close()


async def sandbox(gateway: Installation) -> str:
    """A model of our own at the sandbox."""
    model = await gateway.model()
    order = {"slug": provider_of(model), "name": "A sandbox", "format": "sandbox"}
    await gateway.admin("/providers", order)
    await gateway.admin("/endpoints", {"model": model, "provider": provider_of(model)})
    await gateway.publish(model, provider_of(model), {"prompt": "0", "completion": "1"})
    return model


async def test_an_admission_notices_that_prices_changed(gateway: Installation, deaf: Deaf) -> None:
    customer, model = await gateway.customer(), await sandbox(gateway)
    assert (await deaf.call(customer, model)).answer["usage"]["cost"] == "0.000003"
    before = await deaf.shelf.current()
    await gateway.publish(model, provider_of(model), {"prompt": "0", "completion": "2"})
    assert await deaf.shelf.current() is before
    assert (await deaf.call(customer, model)).answer["usage"]["cost"] == "0.000006"
    assert (await deaf.shelf.current()).revision > before.revision


async def test_a_refusal_is_given_only_after_a_second_look(gateway: Installation, deaf: Deaf) -> None:
    await deaf.shelf.current()
    customer, model = await gateway.customer(), await sandbox(gateway)
    assert (await deaf.call(customer, model)).answer["model"] == model
    with pytest.raises(TollgateError, match="There is no model"):
        await deaf.call(customer, "nobody/knows")


async def test_an_admission_refuses_a_key_that_was_revoked(gateway: Installation, deaf: Deaf) -> None:
    customer, model = await gateway.customer(), await sandbox(gateway)
    await deaf.call(customer, model)
    await gateway.pool.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1", customer.organization_id
    )
    with pytest.raises(AuthenticationFailed):
        await deaf.call(customer, model)
    assert len(await customer.calls()) == 1
    assert await customer.held() == 0
