"""What one process changes of catalogue and prices is live in every other one, whether or not that is called."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import BORN
from tests.gateway.clocked import MODEL, Clocked, Tenant, clocked
from tests.gateway.installation import MESSAGES

from tollgate.gateway.snapshot import Snapshot

CHANGING, OTHER = 0, 1
DEARER = [
    {"kind": kind, "price": price, "unit": "per_million_tokens"}
    for kind, price in (("prompt", "0"), ("completion", "6000"))
]


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    """Two gateway applications on one database."""
    async with clocked(server_url, template, processes=2) as opened:
        yield opened


@pytest.fixture
async def tenant(gateway: Clocked) -> Tenant:
    gateway.set(BORN)
    return await gateway.tenant()


async def at(gateway: Clocked, process: int) -> Snapshot:
    """The catalogue and prices that a process has in memory."""
    held: Snapshot = await gateway.processes[process].app.state.gateway._admissions._shelf.current()
    return held


async def heard(gateway: Clocked) -> None:
    """Wait until the other process has in memory what is in the database."""
    revision = await gateway.pool.fetchval("SELECT revision FROM catalogue_revision")
    for _ in range(2000):
        if (await at(gateway, OTHER)).revision == revision:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the other process heard of nothing")


async def asked(gateway: Clocked, tenant: Tenant, model: str) -> tuple[int, Any]:
    """What the other process answers."""
    answer = await gateway.call(tenant, by=OTHER, model=model)
    body = answer.json()
    return answer.status_code, body["model"] if answer.status_code == 200 else body["error"]["type"]


async def test_the_other_process_hears_of_every_change_without_being_called(gateway: Clocked) -> None:
    provider = {"slug": "news", "name": "News", "format": "sandbox"}
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/admin/models", {"slug": "acme/news", "name": "News"}),
        ("PATCH", "/admin/models/acme/news", {"retires_at": "2100-01-01T00:00:00Z"}),
        ("POST", "/admin/providers", provider),
        ("POST", "/admin/aliases", {"slug": "acme/tidings", "model": "acme/news"}),
        ("POST", "/admin/endpoints", {"model": "acme/news", "provider": "news"}),
        ("POST", "/admin/prices", {"model": "acme/news", "provider": "news", "items": DEARER}),
    ]
    for method, path, body in changes:
        await gateway.manage(method, path, body)
        await heard(gateway)
    assert (await at(gateway, OTHER)).catalogue.aliases == {"acme/tidings": "acme/news"}


async def test_an_alias_leads_on_at_once_and_no_longer_when_it_is_gone(gateway: Clocked, tenant: Tenant) -> None:
    assert await asked(gateway, tenant, "acme/short") == (404, "model_not_found")
    await gateway.manage("POST", "/admin/aliases", {"slug": "acme/short", "model": MODEL})
    assert await asked(gateway, tenant, "acme/short") == (200, MODEL)
    assert (await gateway.plane.call("DELETE", "/admin/aliases/acme/short")).status_code == 204
    assert await asked(gateway, tenant, "acme/short") == (404, "model_not_found")


async def test_a_model_retires_in_every_process_at_one_instant(gateway: Clocked, tenant: Tenant) -> None:
    retires = BORN + timedelta(days=1)
    await gateway.manage("POST", "/admin/models", {"slug": "acme/brief", "name": "Brief"})
    await gateway.manage("POST", "/admin/endpoints", {"model": "acme/brief", "provider": "sand"})
    await gateway.manage("POST", "/admin/prices", {"model": "acme/brief", "provider": "sand", "items": DEARER})
    assert await asked(gateway, tenant, "acme/brief") == (200, "acme/brief")
    await gateway.manage("PATCH", "/admin/models/acme/brief", {"retires_at": retires.isoformat()})
    gateway.set(retires - timedelta(seconds=1))
    assert await asked(gateway, tenant, "acme/brief") == (200, "acme/brief")
    gateway.set(retires)
    assert await asked(gateway, tenant, "acme/brief") == (404, "model_not_found")
    await gateway.manage("PATCH", "/admin/models/acme/brief", {"replaced_by": MODEL})
    assert await asked(gateway, tenant, "acme/brief") == (200, MODEL)


async def test_a_price_that_was_withdrawn_charges_no_call(gateway: Clocked, tenant: Tenant) -> None:
    begins = BORN.replace(year=2100)
    order = {"model": MODEL, "provider": "sand", "items": DEARER, "effective_from": begins.isoformat()}
    scheduled = (await gateway.manage("POST", "/admin/prices", order))["data"]["id"]

    assert (await gateway.plane.call("DELETE", f"/admin/prices/{scheduled}")).status_code == 204
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}
    plane = gateway.processes[OTHER]
    answer = await plane.client.post(
        "/api/v1/chat/completions", json=body, headers={"authorization": f"Bearer {tenant.key}"}
    )

    assert answer.json(parse_float=str)["usage"]["cost"] == "0.009"
    versions = (await at(gateway, OTHER)).book.by_endpoint.values()
    assert not any(version.effective_from >= begins for shelf in versions for version in shelf)
