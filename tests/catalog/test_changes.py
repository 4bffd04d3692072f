"""Every change to catalogue and prices is on record: what was, what is, when, by whom and from where."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from tests.catalog.app import ADDRESS, OPERATOR, operator_client
from tests.catalog.test_routes import GROQ, LLAMA, LLAMA_AT_GROQ, create

from tollgate.catalog import seed
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import typed

PRICE = {
    "model": "meta/llama-4",
    "provider": "groq",
    "items": [{"kind": kind, "price": "3", "unit": "per_million_tokens"} for kind in ("prompt", "completion")],
}


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    async with operator_client(database, clock) as opened:
        yield opened


async def listed(
    client: AsyncClient, path: str = "/admin/catalogue/changes", **parameters: Any
) -> list[dict[str, Any]]:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def an_endpoint(client: AsyncClient, clock: FixedClock) -> str:
    """The id of an endpoint of a model at a provider, each made a second after the other."""
    await create(client, "/admin/providers", GROQ)
    clock.at += timedelta(seconds=1)
    await create(client, "/admin/models", LLAMA)
    clock.at += timedelta(seconds=1)
    created = await create(client, "/admin/endpoints", LLAMA_AT_GROQ)
    clock.at += timedelta(seconds=1)
    return str(created["id"])


async def test_what_is_created_changed_and_deleted_is_on_record(client: AsyncClient, clock: FixedClock) -> None:
    endpoint = await an_endpoint(client, clock)
    began = clock.at
    await client.patch(f"/admin/endpoints/{endpoint}", json={"enabled": False})
    clock.at += timedelta(seconds=1)
    assert (await client.delete(f"/admin/endpoints/{endpoint}")).status_code == 204

    deleted, changed, created, model, provider = await listed(client)

    assert [each["kind"] for each in (created, model, provider)] == ["endpoint", "model", "provider"]
    assert [each["action"] for each in (deleted, changed, created)] == ["deleted", "changed", "created"]
    assert {each["subject"] for each in (deleted, changed, created)} == {endpoint}
    assert (created["before"], deleted["after"]) == (None, None)
    assert created["after"] == changed["before"]
    assert changed["after"] == deleted["before"] == changed["before"] | {"enabled": False}
    assert changed["at"] == began.isoformat().replace("+00:00", "Z")
    assert (changed["by"], changed["address"]) == (typed("key", OPERATOR.key_id), ADDRESS)
    assert await listed(client, f"/admin/endpoints/{endpoint}/history") == [deleted, changed, created]
    assert await listed(client, "/admin/models/meta/llama-4/history") == [model]
    assert await listed(client, "/admin/providers/groq/history") == [provider]


async def test_a_credential_is_on_record_by_reference(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ)

    (created,) = await listed(client)

    assert created["after"]["credential"] == "env:GROQ_API_KEY"
    assert "gsk" not in str(created)


async def test_a_published_price_is_on_record(client: AsyncClient, clock: FixedClock) -> None:
    endpoint = await an_endpoint(client, clock)

    price = await create(client, "/admin/prices", PRICE)

    (published,) = await listed(client, kind="price")
    assert (published["action"], published["subject"], published["before"]) == ("published", price["id"], None)
    assert published["after"]["endpoint"] == endpoint
    assert published["after"]["items"][0]["price"] == "3"
    assert (published["by"], published["address"]) == (price["published_by"], ADDRESS)


async def test_a_published_and_ended_adjustment_is_on_record(client: AsyncClient, clock: FixedClock) -> None:
    await an_endpoint(client, clock)
    made = await create(client, "/admin/price-adjustments", {"percent": "-10", "model": "meta/llama-4"})
    clock.at += timedelta(seconds=1)

    ended = await client.post(f"/admin/price-adjustments/{made['id']}/end", json={})

    assert ended.status_code == 200, ended.text
    changed, published = await listed(client, kind="price_adjustment")
    assert (published["action"], published["subject"], published["before"]) == ("published", made["id"], None)
    assert (published["after"]["percent"], published["after"]["model"]) == ("-10", "meta/llama-4")
    assert (published["by"], published["address"]) == (made["published_by"], ADDRESS)
    assert (changed["action"], changed["before"]) == ("changed", published["after"])
    assert changed["after"] == published["after"] | {"effective_to": clock.at.isoformat()}
    assert (changed["by"], changed["address"]) == (made["published_by"], ADDRESS)


async def test_a_change_that_changes_nothing_or_fails_is_not_on_record(
    client: AsyncClient, clock: FixedClock, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    endpoint = await an_endpoint(client, clock)
    before = await pool.fetchval("SELECT revision FROM catalogue_revision")

    same = await client.patch(f"/admin/endpoints/{endpoint}", json={"enabled": True})
    refused = await client.patch("/admin/models/meta/llama-4", json={"name": ""})
    taken = await client.post("/admin/models", json=LLAMA)

    assert (same.status_code, refused.status_code, taken.status_code) == (200, 400, 409)
    assert len(await listed(client)) == 3
    assert await pool.fetchval("SELECT revision FROM catalogue_revision") == before


async def test_changes_are_found_by_what_by_whom_and_when(client: AsyncClient, clock: FixedClock) -> None:
    start = clock.at
    await an_endpoint(client, clock)

    second = (start + timedelta(seconds=1)).isoformat()
    kinds = [
        [each["kind"] for each in await listed(client, **wanted)]
        for wanted in (
            {"kind": "model"},
            {"subject": "groq"},
            {"by": typed("key", OPERATOR.key_id)},
            {"by": "key_00000000-0000-7000-8000-000000000000"},
            {"after": second},
            {"before": second},
        )
    ]

    assert kinds == [
        ["model"], ["provider"], ["endpoint", "model", "provider"], [], ["endpoint", "model"], ["provider"],
    ]  # fmt: skip


async def test_changes_are_listed_a_page_at_a_time(client: AsyncClient, clock: FixedClock) -> None:
    await an_endpoint(client, clock)

    first = (await client.get("/admin/catalogue/changes", params={"limit": 2})).json()
    rest = (await client.get("/admin/catalogue/changes", params={"limit": 2, "cursor": first["next"]})).json()

    assert [each["kind"] for each in first["data"] + rest["data"]] == ["endpoint", "model", "provider"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"kind": "planet"}, "kind"), ({"by": "me"}, "by"), ({"after": "yesterday"}, "after"), ({"who": "me"}, "who")],
)
async def test_a_question_for_changes_that_makes_no_sense_is_refused(
    client: AsyncClient, parameters: dict[str, str], field: str
) -> None:
    answer = await client.get("/admin/catalogue/changes", params=parameters)

    assert (answer.status_code, answer.json()["error"]["metadata"]) == (400, {"field": field})


class TestDeleting:
    async def test_needs_what_refers_to_be_gone_first(self, client: AsyncClient, clock: FixedClock) -> None:
        endpoint = await an_endpoint(client, clock)

        for path, refers in (("/admin/providers/groq", "meta/llama-4"), ("/admin/models/meta/llama-4", "groq")):
            refused = await client.delete(path)
            assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict")
            assert refused.json()["error"]["metadata"] == {"refers": {"endpoints": [refers]}}
            assert "disable" in refused.json()["error"]["message"]
        for path in (f"/admin/endpoints/{endpoint}", "/admin/providers/groq", "/admin/models/meta/llama-4"):
            assert (await client.delete(path)).status_code == 204
            assert (await client.delete(path)).status_code == 404
            assert (await client.get(path)).status_code == 404

    async def test_an_endpoint_that_has_prices_is_refused(self, client: AsyncClient, clock: FixedClock) -> None:
        endpoint = await an_endpoint(client, clock)
        await create(client, "/admin/prices", PRICE)

        refused = await client.delete(f"/admin/endpoints/{endpoint}")

        assert (refused.status_code, refused.json()["error"]["metadata"]) == (409, {"refers": ["prices"]})
        assert '{"enabled": false}' in refused.json()["error"]["message"]
        assert (await client.get(f"/admin/endpoints/{endpoint}")).status_code == 200

    @pytest.mark.parametrize(
        ("scope", "path"),
        [({"provider": "groq"}, "/admin/providers/groq"), ({"model": "meta/llama-4"}, "/admin/models/meta/llama-4")],
    )
    async def test_what_an_adjustment_of_prices_names_is_refused(
        self, client: AsyncClient, clock: FixedClock, scope: dict[str, str], path: str
    ) -> None:
        endpoint = await an_endpoint(client, clock)
        await create(client, "/admin/price-adjustments", {"percent": "-10", **scope})
        assert (await client.delete(f"/admin/endpoints/{endpoint}")).status_code == 204

        refused = await client.delete(path)

        assert (refused.status_code, refused.json()["error"]["metadata"]) == (409, {"refers": ["price_adjustments"]})
        assert (await client.get(path)).status_code == 200

    async def test_a_seeded_provider_is_not_undone_by_the_next_start(
        self, client: AsyncClient, database: Database, clock: FixedClock
    ) -> None:
        async with database.write() as session:
            await seed.seed(session, clock.now())
        assert (await client.delete("/admin/providers/anthropic")).status_code == 204

        async with database.write() as session:
            await seed.seed(session, clock.now())

        assert (await client.get("/admin/providers/anthropic")).status_code == 404
        assert (await client.get("/admin/providers/openai")).status_code == 200
