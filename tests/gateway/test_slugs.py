"""A call is served by the model that its slug leads to, is recorded under both names, and is told what ends when."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.builders import BORN
from tests.gateway.clocked import MODEL, PATHS, Clocked, Tenant, clocked

from tollgate.catalog.model import Model
from tollgate.gateway import headers

RETIRES = BORN + timedelta(days=30)


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as opened:
        await opened.manage("POST", "/admin/models", {"slug": "acme/old", "name": "Old"})
        await opened.manage("POST", "/admin/endpoints", {"model": "acme/old", "provider": "sand"})
        items = [{"kind": kind, "price": "1", "unit": "per_million_tokens"} for kind in ("prompt", "completion")]
        await opened.manage("POST", "/admin/prices", {"model": "acme/old", "provider": "sand", "items": items})
        life = {"deprecated_at": BORN.isoformat(), "retires_at": RETIRES.isoformat(), "replaced_by": MODEL}
        await opened.manage("PATCH", "/admin/models/acme/old", life)
        await opened.manage(
            "POST", "/admin/models", {"slug": "acme/gone", "name": "Gone", "retires_at": BORN.isoformat()}
        )
        await opened.manage("POST", "/admin/aliases", {"slug": "acme/newest", "model": MODEL})
        await opened.manage("POST", "/admin/aliases", {"slug": "acme/classic", "model": "acme/old"})
        yield opened


@pytest.fixture(autouse=True)
def clocks(gateway: Clocked) -> None:
    gateway.set(BORN)


@pytest.fixture
async def tenant(gateway: Clocked) -> Tenant:
    return await gateway.tenant()


async def recorded(gateway: Clocked, tenant: Tenant) -> tuple[str, str]:
    """The models asked for and served of the only call."""
    (row,) = await gateway.pool.fetch(
        "SELECT requested_model, model FROM calls WHERE organization_id = $1", tenant.id_of("organization")
    )
    return row["requested_model"], row["model"]


def life(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {name: answer.headers[name] for name in ("deprecation", "sunset") if name in answer.headers}


@pytest.mark.parametrize("speaking", PATHS)
async def test_an_alias_is_served_by_its_model(gateway: Clocked, tenant: Tenant, speaking: str) -> None:
    answer = await gateway.call(tenant, speaking=speaking, model="acme/newest")

    assert life(answer) == {}
    assert answer.json()["model"] == MODEL
    assert await recorded(gateway, tenant) == ("acme/newest", MODEL)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deprecated_model_serves_and_says_until_when(gateway: Clocked, tenant: Tenant, *, stream: bool) -> None:
    answer = await gateway.call(tenant, model="acme/classic:sand", stream=stream)

    assert life(answer) == {"deprecation": "@1767225600", "sunset": "Sat, 31 Jan 2026 00:00:00 GMT"}
    assert await recorded(gateway, tenant) == ("acme/classic:sand", "acme/old")


@pytest.mark.parametrize("asked", ["acme/old", "acme/classic", "acme/old:sand"])
async def test_a_retired_model_is_served_by_what_replaces_it(gateway: Clocked, tenant: Tenant, asked: str) -> None:
    gateway.set(RETIRES)

    answer = await gateway.call(tenant, model=asked)

    assert answer.json()["model"] == MODEL
    assert life(answer)["sunset"] == "Sat, 31 Jan 2026 00:00:00 GMT"
    assert await recorded(gateway, tenant) == (asked, MODEL)


async def test_a_retired_model_that_nothing_replaces_is_not_found(gateway: Clocked, tenant: Tenant) -> None:
    refused = await gateway.call(tenant, model="acme/gone")

    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (404, "model_not_found")
    assert "acme/gone was retired on 2026-01-01T00:00:00+00:00, and nothing replaces it" in error["message"]


async def test_a_fallback_serves_where_the_first_model_is_gone(gateway: Clocked, tenant: Tenant) -> None:
    answer = await gateway.call(tenant, model="acme/gone", models=["acme/newest"])

    assert (answer.status_code, answer.json()["model"]) == (200, MODEL)
    assert await recorded(gateway, tenant) == ("acme/gone", MODEL)


async def test_a_key_may_call_what_serves_whatever_it_is_called(gateway: Clocked, tenant: Tenant) -> None:
    await gateway.manage("PATCH", f"/keys/{tenant.key_id}", {"models": [MODEL]}, key=tenant.manager)

    async def status(model: str) -> tuple[int, Any]:
        answer = await gateway.call(tenant, model=model)
        return answer.status_code, answer.json().get("error", {}).get("type")

    assert await status("acme/newest") == (200, None)
    assert await status("acme/old") == (403, "model_not_allowed")
    gateway.set(RETIRES)
    assert await status("acme/old") == (200, None)


async def test_a_prompt_is_counted_for_the_model_that_would_serve(gateway: Clocked, tenant: Tenant) -> None:
    body = {"model": "acme/newest", "messages": [{"role": "user", "content": "Say hello."}]}
    answer = await gateway.plane.client.post(
        f"{PATHS['messages']}/count_tokens", json=body, headers={"authorization": f"Bearer {tenant.key}"}
    )

    assert (answer.status_code, answer.json()) == (200, {"input_tokens": 10})


class TestHeaders:
    def test_say_nothing_of_a_model_that_goes_on(self) -> None:
        assert headers.endings(None) == {}
        assert headers.endings(a_model()) == {}

    def test_say_what_is_known(self) -> None:
        assert headers.endings(a_model(deprecated_at=RETIRES)) == {"deprecation": "@1769817600"}
        assert headers.endings(a_model(retires_at=RETIRES)) == {"sunset": "Sat, 31 Jan 2026 00:00:00 GMT"}


def a_model(deprecated_at: datetime | None = None, retires_at: datetime | None = None) -> Model:
    return Model("a/b", "B", "", (), (), "o200k_base", BORN, deprecated_at, retires_at)
