"""A slug leads to the model that serves: through its alias, and on to what replaces a model once that is retired."""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from httpx import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from tests.catalog.app import operator_client
from tests.catalog.test_routes import GROQ, LLAMA, create

from tollgate.catalog import rules
from tollgate.catalog.model import Catalogue, Model
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import InvalidRequest

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def a_model(slug: str, retires_at: datetime | None = None, replaced_by: str | None = None) -> Model:
    return Model(slug, slug, "", ("text",), ("text",), "o200k_base", NOW, None, retires_at, replaced_by)


def a_catalogue(*models: Model, aliases: Mapping[str, str] | None = None) -> Catalogue:
    return Catalogue(1, {model.slug: model for model in models}, {}, {}, aliases or {})


class TestResolving:
    def test_a_model_serves_for_itself_until_it_is_retired(self) -> None:
        old, new = a_model("a/old", NOW, "a/new"), a_model("a/new")
        here = a_catalogue(old, new)
        assert here.resolve("a/old", NOW - SECOND) is old
        assert here.resolve("a/old", NOW) is new
        assert here.resolve("a/none", NOW) is None

    def test_an_alias_leads_where_its_model_leads(self) -> None:
        old, new = a_model("a/old", NOW, "a/new"), a_model("a/new")
        here = a_catalogue(old, new, aliases={"a/alias": "a/old"})
        assert here.named("a/alias") is old
        assert here.resolve("a/alias", NOW - SECOND) is old
        assert here.resolve("a/alias", NOW) is new

    def test_a_line_is_followed_to_its_end(self) -> None:
        line = [a_model(f"a/{n}", NOW, f"a/{n + 1}") for n in range(5)]
        assert a_catalogue(*line, a_model("a/5")).resolve("a/0", NOW) == a_model("a/5")
        assert a_catalogue(*line, a_model("a/5", NOW)).resolve("a/0", NOW) is None

    @pytest.mark.parametrize(
        ("model", "told"),
        [
            ("a/none", "There is no model 'a/none'"),
            ("a/alone:openai", "a/alone was retired on 2026-11-22T12:00:00+00:00, and nothing replaces it"),
            ("a/alias", "a/old was retired on 2026-11-22T12:00:00+00:00, and so is what replaced it, a/alone"),
        ],
    )
    def test_it_is_told_why_nothing_serves(self, model: str, told: str) -> None:
        here = a_catalogue(a_model("a/alone", NOW), a_model("a/old", NOW, "a/alone"), aliases={"a/alias": "a/old"})
        assert told in here.why_not(model, NOW)

    @given(
        retired=st.lists(st.booleans(), min_size=1, max_size=8),
        wishes=st.lists(st.integers(0, 7), min_size=8, max_size=8),
        aliased=st.integers(0, 7),
    )
    def test_whoever_serves_is_not_retired_and_lies_on_the_line(
        self, retired: list[bool], wishes: list[int], aliased: int
    ) -> None:
        """Replacements are set one after the other, and those that would lead back are refused."""
        models = {f"a/{n}": a_model(f"a/{n}", NOW if is_retired else None) for n, is_retired in enumerate(retired)}
        for slug, wish in zip(list(models), wishes, strict=False):
            wanted = a_model(slug, models[slug].retires_at, f"a/{wish}")
            with suppress(InvalidRequest):
                rules.check_replacement(wanted, {each.slug: each.replaced_by for each in models.values()})
                models[slug] = wanted
        named = f"a/{aliased % len(models)}"
        here = a_catalogue(*models.values(), aliases={"a/alias": named})
        line = [models[named]]
        while (following := line[-1].replaced_by) is not None:
            line.append(models[following])
            assert len(line) <= len(models)

        serving = here.resolve("a/alias", NOW)

        assert serving == next((model for model in line if not model.is_retired(NOW)), None)
        assert serving == here.resolve(named, NOW)


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    async with operator_client(database, clock) as opened:
        yield opened


class TestOperators:
    async def test_give_a_model_aliases_and_take_them_back(self, client: AsyncClient, clock: FixedClock) -> None:
        await create(client, "/admin/models", LLAMA)
        clock.at += SECOND
        alias = await create(client, "/admin/aliases", {"slug": "meta/llama-latest", "model": "meta/llama-4"})
        clock.at += SECOND
        await create(client, "/admin/aliases", {"slug": "meta/llama", "model": "meta/llama-4"})

        assert alias == {"slug": "meta/llama-latest", "model": "meta/llama-4", "created_at": "2026-11-22T12:00:01Z"}
        listed = (await client.get("/admin/aliases")).json()
        assert [each["slug"] for each in listed["data"]] == ["meta/llama", "meta/llama-latest"]
        assert (await client.get("/admin/aliases/meta/llama-latest")).json()["data"] == alias
        clock.at += SECOND
        assert (await client.delete("/admin/aliases/meta/llama-latest")).status_code == 204
        assert (await client.delete("/admin/aliases/meta/llama-latest")).status_code == 404
        changes = (await client.get("/admin/catalogue/changes", params={"kind": "alias"})).json()["data"]
        assert [(each["action"], each["subject"]) for each in changes] == [
            ("deleted", "meta/llama-latest"), ("created", "meta/llama"), ("created", "meta/llama-latest"),
        ]  # fmt: skip
        assert changes[0]["before"] == alias

    async def test_say_that_they_do_not_know_what_a_model_reads(self, client: AsyncClient) -> None:
        given = {"input_modalities": [], "output_modalities": ["text", "audio"]}

        made = await create(client, "/admin/models", LLAMA | given)
        told = await client.patch("/admin/models/meta/llama-4", json={"input_modalities": ["text", "image"]})
        forgotten = await client.patch("/admin/models/meta/llama-4", json={"input_modalities": []})

        assert made == made | given
        assert told.json()["data"]["input_modalities"] == ["text", "image"]
        assert forgotten.json()["data"] == made

    async def test_cannot_use_a_slug_twice(self, client: AsyncClient) -> None:
        await create(client, "/admin/models", LLAMA)
        await create(client, "/admin/aliases", {"slug": "meta/llama", "model": "meta/llama-4"})

        for path, body in (
            ("/admin/aliases", {"slug": "meta/llama", "model": "meta/llama-4"}),
            ("/admin/aliases", {"slug": "meta/llama-4", "model": "meta/llama-4"}),
            ("/admin/models", {"slug": "meta/llama", "name": "Llama"}),
        ):
            refused = await client.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"slug": "llama", "model": "meta/llama-4"}, "slug"),
            ({"slug": "meta/llama:groq", "model": "meta/llama-4"}, "slug"),
            ({"slug": "meta/llama", "model": "meta/llama-5"}, "model"),
        ],
    )
    async def test_cannot_make_an_alias_of_nothing(self, client: AsyncClient, body: dict[str, str], field: str) -> None:
        await create(client, "/admin/models", LLAMA)
        refused = await client.post("/admin/aliases", json=body)
        assert (refused.status_code, refused.json()["error"]["metadata"]) == (400, {"field": field})

    async def test_retire_a_model_and_bring_it_back(self, client: AsyncClient) -> None:
        await create(client, "/admin/models", LLAMA)
        made = await create(client, "/admin/models", {"slug": "meta/llama-3", "name": "Llama 3"})
        times = {"deprecated_at": "2026-12-01T00:00:00Z", "retires_at": "2027-01-01T00:00:00Z"}
        life = {**times, "replaced_by": "meta/llama-4"}

        retired = await client.patch("/admin/models/meta/llama-3", json=life)
        back = await client.patch("/admin/models/meta/llama-3", json=dict.fromkeys(life))

        assert retired.json()["data"] == made | life
        assert back.json()["data"] == made

    @pytest.mark.parametrize(
        ("change", "field", "told"),
        [
            ({"replaced_by": "meta/a"}, "replaced_by", "meta/a → meta/a"),
            ({"replaced_by": "meta/c"}, "replaced_by", "meta/a → meta/c → meta/b → meta/a"),
            ({"replaced_by": "meta/d"}, "replaced_by", "no model 'meta/d'"),
            (
                {"deprecated_at": "2026-12-01T00:00:00Z", "retires_at": "2026-11-30T23:59:59Z"},
                "retires_at",
                "deprecated before it retires",
            ),
            ({"retires_at": "2026-12-01T00:00:00"}, "retires_at", ""),
        ],
    )
    async def test_cannot_contradict_themselves(
        self, client: AsyncClient, change: dict[str, str], field: str, told: str
    ) -> None:
        await create(client, "/admin/models", {"slug": "meta/a", "name": "A"})
        await create(client, "/admin/models", {"slug": "meta/b", "name": "B", "replaced_by": "meta/a"})
        await create(client, "/admin/models", {"slug": "meta/c", "name": "C", "replaced_by": "meta/b"})

        refused = await client.patch("/admin/models/meta/a", json=change)

        assert (refused.status_code, refused.json()["error"]["metadata"]) == (400, {"field": field})
        assert told in refused.json()["error"]["message"]

    async def test_cannot_delete_a_model_that_something_leads_to(self, client: AsyncClient) -> None:
        await create(client, "/admin/providers", GROQ)
        await create(client, "/admin/models", LLAMA)
        await create(client, "/admin/endpoints", {"model": "meta/llama-4", "provider": "groq"})
        await create(client, "/admin/aliases", {"slug": "meta/llama", "model": "meta/llama-4"})
        await create(client, "/admin/models", {"slug": "meta/old", "name": "Old", "replaced_by": "meta/llama-4"})

        refused = await client.delete("/admin/models/meta/llama-4")

        assert refused.status_code == 409
        assert refused.json()["error"]["metadata"]["refers"] == {
            "endpoints": ["groq"], "aliases": ["meta/llama"], "replaces": ["meta/old"],
        }  # fmt: skip
        assert "Retire it instead" in refused.json()["error"]["message"]
