"""Operators build the catalogue through the API."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient
from tests.catalog.app import operator_client

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock

GROQ = {
    "slug": "groq",
    "name": "Groq",
    "format": "openai_compatible",
    "base_url": "https://api.groq.com/openai/v1",
    "credential": "env:GROQ_API_KEY",
}
LLAMA = {"slug": "meta/llama-4", "name": "Llama 4"}
LLAMA_AT_GROQ = {"model": "meta/llama-4", "provider": "groq"}


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    async with operator_client(database, clock) as opened:
        yield opened


async def create(client: AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


async def test_a_provider_is_shown_without_the_name_of_its_credential(client: AsyncClient) -> None:
    created = await create(client, "/admin/providers", GROQ)

    assert created == {
        "slug": "groq",
        "name": "Groq",
        "format": "openai_compatible",
        "base_url": "https://api.groq.com/openai/v1",
        "has_credential": True,
        "routable": True,
        "status_page": None,
        "regions": [],
    }
    assert (await client.get("/admin/providers/groq")).json()["data"] == created


async def test_a_provider_can_be_given_another_credential(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)

    response = await client.patch("/admin/providers/groq", json={"credential": "env:OTHER_API_KEY"})

    assert response.json()["data"]["routable"] is False


async def test_a_slug_is_taken_once(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)

    response = await client.post("/admin/providers", json=GROQ)

    assert (response.status_code, response.json()["error"]["type"]) == (409, "conflict")


async def test_an_endpoint_takes_its_defaults_from_its_model(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)
    await create(client, "/admin/models", LLAMA)

    created = await create(client, "/admin/endpoints", LLAMA_AT_GROQ)

    assert created["upstream_model"] == "llama-4"
    assert created["protocols"] == ["openai"]
    assert created["data_policy"] == {"training": None, "logging": None, "moderation": None}
    assert (created["supports_cancel"], created["enabled"]) == (True, True)
    assert created["ignorable_parameters"] == []
    assert (await client.get(f"/admin/endpoints/{created['id']}")).json()["data"] == created


async def test_an_endpoint_can_be_switched_off_and_described(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)
    await create(client, "/admin/models", LLAMA)
    created = await create(client, "/admin/endpoints", LLAMA_AT_GROQ | {"context_length": 8192})

    change = {"enabled": False, "context_length": None, "data_policy": {"logging": "zero"}}
    response = await client.patch(f"/admin/endpoints/{created['id']}", json=change)

    changed = response.json()["data"]
    assert changed == created | {
        "enabled": False,
        "context_length": None,
        "data_policy": {"training": None, "logging": "zero", "moderation": None},
    }
    switched_on = await client.patch(f"/admin/endpoints/{created['id']}", json={"enabled": True})
    assert switched_on.json()["data"] == changed | {"enabled": True}


async def test_an_endpoint_says_what_it_leaves_out_until_it_is_told_not_to(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)
    await create(client, "/admin/models", LLAMA)

    created = await create(client, "/admin/endpoints", LLAMA_AT_GROQ | {"ignorable_parameters": ["seed", "top_k"]})
    path = f"/admin/endpoints/{created['id']}"
    untouched = (await client.patch(path, json={"enabled": False})).json()["data"]
    emptied = (await client.patch(path, json={"ignorable_parameters": None})).json()["data"]
    refused = await client.patch(path, json={"ignorable_parameters": ["Top K"]})

    assert created["ignorable_parameters"] == untouched["ignorable_parameters"] == ["seed", "top_k"]
    assert emptied == untouched | {"ignorable_parameters": []}
    assert (refused.status_code, refused.json()["error"]["metadata"]) == (400, {"field": "ignorable_parameters"})


async def test_an_endpoint_needs_a_model_and_a_provider_that_are_there(client: AsyncClient) -> None:
    await create(client, "/admin/models", LLAMA)

    for body, field in ((LLAMA_AT_GROQ, "provider"), (LLAMA_AT_GROQ | {"model": "meta/llama-5"}, "model")):
        response = await client.post("/admin/endpoints", json=body)
        assert (response.status_code, response.json()["error"]["metadata"]) == (400, {"field": field})


async def test_models_are_listed_by_slug_a_page_at_a_time(client: AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await create(client, "/admin/models", {"slug": f"meta/{name}", "name": name})

    assert (await client.get("/admin/providers")).json() == {"data": [], "next": None}
    first = (await client.get("/admin/models?limit=2")).json()
    rest = (await client.get("/admin/models", params={"limit": 2, "cursor": first["next"]})).json()

    assert [model["slug"] for model in first["data"]] == ["meta/a", "meta/b"]
    assert [model["slug"] for model in rest["data"]] == ["meta/c"]
    assert rest["next"] is None


async def test_a_model_can_be_renamed_but_keeps_its_slug(client: AsyncClient) -> None:
    await create(client, "/admin/models", LLAMA)

    renamed = await client.patch("/admin/models/meta/llama-4", json={"name": "Llama Four"})
    refused = await client.patch("/admin/models/meta/llama-4", json={"slug": "meta/llama-5"})

    assert renamed.json()["data"]["name"] == "Llama Four"
    assert refused.status_code == 400


@pytest.mark.parametrize("path", ["/admin/providers/none", "/admin/models/no/ne", "/admin/endpoints/ep_none"])
async def test_what_is_not_there_is_not_found(client: AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
    assert (await client.patch(path, json={})).status_code == 404


async def test_endpoints_are_listed_for_one_model(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)
    for slug in ("meta/a", "meta/b"):
        await create(client, "/admin/models", {"slug": slug, "name": slug})
        await create(client, "/admin/endpoints", {"model": slug, "provider": "groq"})

    assert len((await client.get("/admin/endpoints?provider=groq")).json()["data"]) == 2
    assert [row["model"] for row in (await client.get("/admin/endpoints?model=meta/a")).json()["data"]] == ["meta/a"]
