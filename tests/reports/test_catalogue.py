"""The public catalogue: models, endpoints, providers and activity, without any key."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.plans import plan_of, statements_of
from tests.pricing.builders import per_million, tiers
from tests.reports.scene import ENVIRONMENT, MODEL, Scene, Used

from tollgate.catalog import service as catalog
from tollgate.catalog.model import Alias
from tollgate.infra.changes import Act
from tollgate.kit.tokens import Kind
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, AdjustmentDraft, PriceDraft, PriceItem

PAGE_PRICES = {
    "prompt": "0.4",
    "completion": "1.6",
    "input_cache_read": "0.1",
    "input_cache_write_5m": None,
    "input_cache_write_1h": None,
    "input_cache_write": None,
    "web_search": None,
}
"""The model page of gpt-4.1-mini: a kind that is not offered is null."""


async def public(scene: Scene, path: str, **parameters: Any) -> Any:
    answer = await scene.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def publish(scene: Scene, *items: PriceItem) -> None:
    effective_from = scene.clock.now() + timedelta(seconds=1)
    draft = PriceDraft(scene.endpoint_id, None, STANDARD, effective_from, items)
    async with scene.database.write() as session:
        await pricing.publish(session, draft, act=Act(scene.clock.now()))
    scene.clock.at = effective_from


class TestModels:
    async def test_are_listed_as_openais_clients_expect(self, scene: Scene) -> None:
        listed = await public(scene, "/models")

        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == [MODEL, "sandbox/echo"]
        assert listed["data"][0]["object"] == "model"
        assert listed["data"][0]["created"] == int(datetime(2025, 4, 14, tzinfo=UTC).timestamp())
        assert listed["data"][0]["owned_by"] == "openai"

    async def test_show_the_facts_of_their_page(self, scene: Scene) -> None:
        model = (await public(scene, f"/models/{MODEL}"))["data"]

        assert (model["name"], model["author"]) == ("GPT-4.1 Mini", "openai")
        assert (model["context_length"], model["max_output"]) == (1_047_576, 32_768)
        assert (model["input_modalities"], model["output_modalities"]) == (["text", "image"], ["text"])
        assert model["protocols"] == ["openai", "anthropic"]
        assert len(model["supported_parameters"]) == 14
        prices = {kind: items and items[0]["price"] for kind, items in model["pricing"].items()}
        assert prices == PAGE_PRICES
        assert model["pricing"]["prompt"] == [
            {"price": "0.4", "unit": "per_million_tokens", "currency": "USD", "prompt_tokens": None}
        ]

    async def test_show_the_tiers_of_their_cheapest_endpoint_and_what_is_free(self, scene: Scene) -> None:
        free_reads = per_million(Kind.INPUT_CACHE_READ, "0")
        await publish(scene, *tiers(Kind.PROMPT, "0.1", "0.2"), per_million(Kind.COMPLETION, "1"), free_reads)

        prices = (await public(scene, f"/models/{MODEL}"))["data"]["pricing"]

        assert [(item["price"], item["prompt_tokens"]) for item in prices["prompt"]] == [
            ("0.1", {"gte": 0, "lt": 200_000}),
            ("0.2", {"gte": 200_000, "lt": None}),
        ]
        assert prices["input_cache_read"][0]["price"] == "0"
        assert prices["input_cache_write"] is None

    async def test_keep_an_organizations_own_price_to_itself(self, scene: Scene) -> None:
        items = (per_million(Kind.PROMPT, "0.001"), per_million(Kind.COMPLETION, "0.001"))
        draft = PriceDraft(scene.endpoint_id, scene.organization.id, STANDARD, scene.clock.now(), items)
        async with scene.database.write() as session:
            await pricing.publish(session, draft, act=Act(scene.clock.now()))

        prices = (await public(scene, f"/models/{MODEL}"))["data"]["pricing"]

        assert prices["prompt"][0]["price"] == "0.4"

    async def test_are_found_by_name_provider_parameter_and_modality(self, scene: Scene) -> None:
        for parameters, expected in (
            ({"q": "ECHO"}, ["sandbox/echo"]),
            ({"provider": "azure,sandbox"}, [MODEL, "sandbox/echo"]),
            ({"provider": "nobody"}, []),
            ({"supported_parameters": "tools,seed"}, [MODEL]),
            ({"input_modalities": "text,image"}, [MODEL]),
            ({"output_modalities": "text"}, [MODEL, "sandbox/echo"]),
            ({"output_modalities": "text,audio"}, []),
            ({"author": "sandbox"}, ["sandbox/echo"]),
            ({"protocol": "openai,anthropic"}, [MODEL, "sandbox/echo"]),
            ({"protocol": "responses"}, []),
            ({"context_length": "1000000"}, [MODEL]),
            ({"context_length": "128000", "provider": "sandbox"}, ["sandbox/echo"]),
            ({"context_length": "128001", "provider": "sandbox"}, []),
            ({"max_price": "0.4"}, [MODEL]),
            ({"max_price": "0.39"}, []),
            ({"sort": "-id"}, ["sandbox/echo", MODEL]),
            ({"sort": "created"}, ["sandbox/echo", MODEL]),
            ({"sort": "-created"}, [MODEL, "sandbox/echo"]),
            ({"sort": "price"}, [MODEL, "sandbox/echo"]),
            ({"sort": "-price"}, ["sandbox/echo", MODEL]),
            ({"sort": "context_length"}, [MODEL, "sandbox/echo"]),
            ({"sort": "-context_length"}, ["sandbox/echo", MODEL]),
        ):
            found = await public(scene, "/models", **parameters)
            assert [model["id"] for model in found["data"]] == expected, parameters

    async def test_are_not_found_by_words_that_mean_nothing(self, scene: Scene) -> None:
        for name, value in (
            ("sort", "colour"),
            ("sort", "--id"),
            ("protocol", "grpc"),
            ("input_modalities", "text,smell"),
            ("output_modalities", "taste"),
            ("context_length", "long"),
            ("context_length", "0"),
            ("max_price", "cheap"),
            ("max_price", "-1"),
        ):
            answer = await scene.client.get("/models", params={name: value})
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request"), value
            assert answer.json()["error"]["metadata"]["field"].startswith(name)

    async def test_that_are_none_are_not_found(self, scene: Scene) -> None:
        for path in ("/models/no/model", "/models/no/model/endpoints", "/models/no/model/activity"):
            answer = await scene.client.get(path)
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "model_not_found"
        assert (await scene.client.get("/models", params={"colour": "red"})).status_code == 400


class TestEndpoints:
    async def test_tell_their_terms_and_whether_they_can_be_called(self, scene: Scene) -> None:
        azure, openai = (await public(scene, f"/models/{MODEL}/endpoints"))["data"]

        assert (azure["provider"], openai["provider"]) == ("azure", "openai")
        assert (azure["routable"], openai["routable"]) == (False, True)
        assert azure["data_policy"] == {"training": False, "logging": "zero", "moderation": "developer"}
        assert openai["data_policy"]["logging"] == "30 days"
        assert openai["status_page"] == "https://status.openai.com"
        assert (openai["protocols"], openai["ignorable_parameters"]) == (["openai", "anthropic"], [])

    async def test_that_are_not_priced_yet_say_so(self, scene: Scene) -> None:
        scene.clock.at = datetime(2025, 1, 1, tzinfo=UTC)

        endpoints = (await public(scene, f"/models/{MODEL}/endpoints"))["data"]

        assert [endpoint["pricing"] for endpoint in endpoints] == [None, None]

    async def test_give_nothing_of_a_credential_away(self, scene: Scene) -> None:
        for path in ("/models", f"/models/{MODEL}/endpoints", "/providers"):
            text = (await scene.client.get(path)).text
            assert "env:" not in text
            assert not any(name in text or value in text for name, value in ENVIRONMENT.items())


async def test_providers_are_listed_without_their_address(scene: Scene) -> None:
    providers = (await public(scene, "/providers"))["data"]

    assert [provider["slug"] for provider in providers] == ["anthropic", "azure", "openai", "sandbox"]
    assert providers[3] == {"slug": "sandbox", "name": "Sandbox", "status_page": None, "regions": [], "models": 1}
    assert [provider["models"] for provider in providers] == [0, 1, 1, 1]


async def test_activity_is_the_tokens_of_everyone_on_each_day(scene: Scene) -> None:
    other, now = await scene.another_organization(), scene.clock.now()
    await scene.record(
        [Used(at=now, key=await scene.a_key()), Used(at=now - timedelta(days=1), key=await scene.a_key())]
    )
    await other.record(
        [
            Used(at=now, key=await other.a_key(), adjustment=await other.an_adjustment("-100")),
            Used(at=now, key=await other.a_key(), model="sandbox/echo"),
            Used(at=now - timedelta(days=3), key=await other.a_key()),
        ]
    )

    days = (await public(scene, f"/models/{MODEL}/activity", days=3))["data"]

    assert days == [
        {"date": "2026-11-20", "prompt_tokens": 0, "completion_tokens": 0, "tokens": 0},
        {"date": "2026-11-21", "prompt_tokens": 1000, "completion_tokens": 300, "tokens": 1300},
        {"date": "2026-11-22", "prompt_tokens": 2000, "completion_tokens": 600, "tokens": 2600},
    ]
    assert len((await public(scene, f"/models/{MODEL}/activity"))["data"]) == 30
    for days in (0, 91):
        assert (await scene.client.get(f"/models/{MODEL}/activity", params={"days": days})).status_code == 400


async def test_activity_is_read_by_index_and_told_for_a_second(scene: Scene) -> None:
    key = await scene.a_key()
    await scene.record([Used(at=scene.clock.now(), key=key)])

    async def tokens() -> int:
        days = (await public(scene, f"/models/{MODEL}/activity", days=1))["data"]
        return int(days[0]["tokens"])

    with statements_of("rollups") as sent:
        assert await tokens() == 1300
        await scene.record([Used(at=scene.clock.now(), key=key)])
        assert await tokens() == 1300
        assert len((await public(scene, f"/models/{MODEL}/activity", days=90))["data"]) == 90
        scene.clock.at += timedelta(minutes=1)
        assert await tokens() == 2600

    assert len(sent) == 2
    assert "Index Scan using rollups_model" in await plan_of(scene.pool, sent[0])


class TestWhatIsKept:
    async def test_is_read_once_until_something_changes(self, scene: Scene) -> None:
        paths = ("/models", f"/models/{MODEL}", f"/models/{MODEL}/endpoints", "/providers", f"/models/{MODEL}/activity")
        with statements_of("price_versions") as sent:
            for path in paths:
                await public(scene, path)
        assert len(sent) == 1

        items = (per_million(Kind.PROMPT, "0.25"), per_million(Kind.COMPLETION, "1"))
        draft = PriceDraft(scene.endpoint_id, None, STANDARD, scene.clock.now() + timedelta(hours=1), items)
        async with scene.database.write() as session:
            await pricing.publish(session, draft, act=Act(scene.clock.now()))
        async with scene.database.write() as session:
            await catalog.change_model(
                session, MODEL, edit=lambda model: replace(model, name="Renamed"), act=Act(scene.clock.now())
            )

        shown = (await public(scene, f"/models/{MODEL}"))["data"]
        assert (shown["name"], shown["pricing"]["prompt"][0]["price"]) == ("Renamed", "0.4")

    async def test_ends_with_a_price_though_nothing_is_published_then(self, scene: Scene) -> None:
        items = (per_million(Kind.PROMPT, "0.25"), per_million(Kind.COMPLETION, "1"))
        begins = scene.clock.now() + timedelta(hours=1)
        draft = PriceDraft(scene.endpoint_id, None, STANDARD, begins, items)
        async with scene.database.write() as session:
            await pricing.publish(session, draft, act=Act(scene.clock.now()))

        seen = []
        for at in (begins - timedelta(microseconds=1), begins):
            scene.clock.at = at
            seen.append((await public(scene, f"/models/{MODEL}"))["data"]["pricing"]["prompt"][0]["price"])

        assert seen == ["0.4", "0.25"]

    async def test_ends_with_a_markup_for_everybody_but_not_with_an_organizations_own(self, scene: Scene) -> None:
        begins, own = scene.clock.now() + timedelta(hours=1), scene.organization.id
        ends = begins + timedelta(hours=1)
        async with scene.database.write() as session:
            for owner, percent in ((None, Decimal(50)), (own, Decimal(-50))):
                draft = AdjustmentDraft(owner, MODEL, None, percent, begins)
                made = await pricing.publish_adjustment(session, draft, act=Act(scene.clock.now()))
                await pricing.end_adjustment(session, made.adjustment.id, at=ends, act=Act(scene.clock.now()))

        seen = []
        for at in (begins - timedelta(microseconds=1), begins, ends - timedelta(microseconds=1), ends):
            scene.clock.at = at
            seen.append((await public(scene, f"/models/{MODEL}"))["data"]["pricing"]["prompt"][0]["price"])

        assert seen == ["0.4", "0.6", "0.6", "0.4"]


class TestLives:
    async def change(self, scene: Scene, **life: Any) -> None:
        async with scene.database.write() as session:
            await catalog.change_model(
                session, "sandbox/echo", edit=lambda model: replace(model, **life), act=Act(scene.clock.now())
            )

    async def alias(self, scene: Scene, slug: str) -> None:
        async with scene.database.write() as session:
            alias = Alias(slug, MODEL, scene.clock.now())
            await catalog.create_alias(session, alias, act=Act(scene.clock.now()))

    async def test_a_model_is_listed_until_it_is_retired_and_its_page_stays(self, scene: Scene) -> None:
        retires = scene.clock.now() + timedelta(hours=1)
        await self.change(scene, deprecated_at=scene.clock.now(), retires_at=retires, replaced_by=MODEL)

        before = (await public(scene, "/models"))["data"]
        scene.clock.at = retires
        after = (await public(scene, "/models"))["data"]
        page = (await public(scene, "/models/sandbox/echo"))["data"]

        assert [model["id"] for model in before] == [MODEL, "sandbox/echo"]
        assert [model["id"] for model in after] == [MODEL]
        assert page == before[1]
        assert (page["deprecated_at"], page["retires_at"], page["replaced_by"], page["aliases"]) == (
            "2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z", MODEL, [],
        )  # fmt: skip

    async def test_a_model_of_which_it_is_not_known_what_it_reads_is_no_answer_to_who_asks_for_that(
        self, scene: Scene
    ) -> None:
        await self.change(scene, input_modalities=())

        listed = (await public(scene, "/models"))["data"]
        asked = (await public(scene, "/models", input_modalities="text"))["data"]

        assert [model["input_modalities"] for model in listed] == [["text", "image"], []]
        assert [model["id"] for model in asked] == [MODEL]

    async def test_aliases_are_shown_beside_their_model_and_lead_to_it(self, scene: Scene) -> None:
        await self.alias(scene, "openai/mini")
        await self.alias(scene, "openai/latest")

        model, other = (await public(scene, "/models"))["data"]
        assert (model["aliases"], other["aliases"]) == (["openai/latest", "openai/mini"], [])
        assert [found["id"] for found in (await public(scene, "/models", q="LATEST"))["data"]] == [MODEL]
        for place in ("", "/endpoints", "/activity?days=3"):
            moved = await scene.client.get(f"/models/openai/mini{place}")
            assert (moved.status_code, moved.content) == (301, b"")
            assert moved.headers["location"] == f"/models/{MODEL}{place}"
            assert (await scene.client.get(moved.headers["location"])).status_code == 200
