"""Operators publish prices through the API and read their history."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from httpx import AsyncClient
from tests.catalog.app import OPERATOR, operator_client
from tests.pricing.builders import priced_endpoint

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import typed

TIERED: dict[str, Any] = {
    "model": "openai/gpt-4.1-mini",
    "provider": "openai",
    "items": [
        {"kind": "prompt", "price": "0.4", "unit": "per_million_tokens", "prompt_tokens": {"gte": 0, "lt": 200_000}},
        {"kind": "prompt", "price": "0.8", "unit": "per_million_tokens", "prompt_tokens": {"gte": 200_000}},
        {"kind": "completion", "price": "0", "unit": "per_million_tokens", "prompt_tokens": None},
    ],
}


def a_tier(start: int) -> dict[str, Any]:
    """A price of prompts from so many tokens on."""
    return {"kind": "prompt", "price": "1", "unit": "per_million_tokens", "prompt_tokens": {"gte": start}}


def a_read() -> dict[str, Any]:
    """A price of what is read from a cache."""
    return {"kind": "input_cache_read", "price": "1", "unit": "per_million_tokens"}


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    await priced_endpoint(database, clock.now())
    async with operator_client(database, clock) as opened:
        yield opened


async def test_a_price_without_a_time_takes_effect_now(client: AsyncClient, clock: FixedClock) -> None:
    response = await client.post("/admin/prices", json=TIERED)

    published = response.json()["data"]
    assert response.status_code == 201
    assert published["effective_from"] == "2026-11-22T12:00:00Z"
    assert published["effective_to"] is None
    assert (published["service_tier"], published["organization"]) == ("standard", None)
    assert published["source"] == "operator"
    assert published["published_by"] == typed("key", OPERATOR.key_id)
    assert [(item["kind"], item["price"], item["prompt_tokens"]) for item in published["items"]] == [
        ("prompt", "0.4", {"gte": 0, "lt": 200_000}),
        ("prompt", "0.8", {"gte": 200_000, "lt": None}),
        ("completion", "0", None),
    ]
    clock.at += timedelta(days=1)
    history = (await client.get("/admin/prices?model=openai/gpt-4.1-mini&provider=openai")).json()["data"]
    assert history[0] == published
    assert (history[1]["source"], history[1]["effective_to"]) == ("seed", "2026-11-22T12:00:00Z")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "openai/gpt-9"}, "model"),
        ({"provider": "anthropic"}, "provider"),
        ({"effective_from": "2026-11-22T11:59:59Z"}, "effective_from"),
        ({"effective_from": "2026-12-01T00:00:00"}, "effective_from"),
        ({"service_tier": "Flex!"}, "service_tier"),
        ({"organization": "key_0"}, "organization"),
        ({"organization": "org_00000000-0000-7000-8000-000000000009"}, "organization"),
        ({"items": []}, "items"),
        ({"items": [TIERED["items"][0]]}, "items[0].prompt_tokens"),
        ({"items": [TIERED["items"][1]]}, "items[0].prompt_tokens"),
        ({"items": [TIERED["items"][0], a_tier(200_001)]}, "items[1].prompt_tokens"),
        ({"items": [TIERED["items"][0], a_tier(199_999)]}, "items[1].prompt_tokens"),
        ({"items": [*TIERED["items"], a_tier(0)]}, "items[3].prompt_tokens"),
        ({"items": [a_tier(0), {"kind": "output_image", "price": "1", "unit": "per_million_tokens"}]}, "items[1].kind"),
        ({"items": [{"kind": "request", "price": "1", "unit": "per_count"}, a_read()]}, "items[1].kind"),
        ({"items": [{"kind": "web_search", "price": "1", "unit": "per_count"}]}, "items"),
        ({"items": [a_tier(0)]}, "items"),
        ({"items": [a_tier(0), {"kind": "request", "price": "1", "unit": "per_count"}]}, "items"),
        ({"items": [TIERED["items"][0], TIERED["items"][2] | {"unit": "per_count"}]}, "items[1].unit"),
        ({"items": [{"kind": "prompt", "price": 0.4, "unit": "per_million_tokens"}]}, "items[0].price"),
        ({"items": [{"kind": "prompt", "price": "-1", "unit": "per_million_tokens"}]}, "items[0].price"),
        ({"items": [{"kind": "thought", "price": "1", "unit": "per_million_tokens"}]}, "items[0].kind"),
        ({"discount": "1"}, "discount"),
    ],
)
async def test_a_price_that_cannot_be_is_refused_by_field(
    client: AsyncClient, change: dict[str, Any], field: str
) -> None:
    response = await client.post("/admin/prices", json=TIERED | change)

    assert response.status_code == 400, response.text
    assert response.json()["error"]["metadata"]["field"] == field


async def test_what_writes_needs_a_price_of_output_and_what_only_embeds_does_not(client: AsyncClient) -> None:
    order = {"model": "openai/gpt-4.1-mini", "provider": "openai", "items": [a_tier(0)]}
    free_output = {"kind": "completion", "price": "0", "unit": "per_million_tokens"}

    refused = await client.post("/admin/prices", json=order)
    free = await client.post("/admin/prices", json=order | {"items": [a_tier(0), free_output]})
    by_request = {"service_tier": "flex", "items": [{"kind": "request", "price": "1", "unit": "per_count"}]}
    counted = await client.post("/admin/prices", json=order | by_request)
    for path, body in (
        ("models", {"slug": "acme/embed", "name": "Embed"}),
        ("endpoints", {"model": "acme/embed", "provider": "openai", "protocols": ["embeddings"]}),
    ):
        assert (await client.post(f"/admin/{path}", json=body)).status_code == 201
    embedding = await client.post("/admin/prices", json=order | {"model": "acme/embed"})

    error = refused.json()["error"]
    assert (refused.status_code, error["metadata"]) == (400, {"field": "items"})
    assert "Calls of this endpoint write, so completion needs a price" in error["message"]
    assert [each.status_code for each in (free, counted, embedding)] == [201, 201, 201]


async def test_a_price_that_overlaps_one_published_for_later_is_refused(client: AsyncClient) -> None:
    later = await client.post("/admin/prices", json=TIERED | {"effective_from": "2026-12-01T00:00:00Z"})
    assert later.status_code == 201

    for start in ("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"):
        refused = await client.post("/admin/prices", json=TIERED | {"effective_from": start})
        error = refused.json()["error"]
        assert (refused.status_code, error["metadata"]) == (400, {"field": "effective_from"})
        assert "takes effect at 2026-12-01T00:00:00+00:00 is published already" in error["message"]


async def test_nothing_is_written_of_a_price_that_is_refused(client: AsyncClient) -> None:
    await client.post("/admin/prices", json=TIERED | {"effective_from": "2020-01-01T00:00:00Z"})

    history = (await client.get("/admin/prices?model=openai/gpt-4.1-mini&provider=openai")).json()["data"]
    assert [version["effective_to"] for version in history] == [None]


async def test_the_history_of_an_unknown_endpoint_names_what_is_unknown(client: AsyncClient) -> None:
    response = await client.get("/admin/prices?model=openai/gpt-4.1-mini&provider=nobody")

    assert (response.status_code, response.json()["error"]["metadata"]["field"]) == (400, "provider")
