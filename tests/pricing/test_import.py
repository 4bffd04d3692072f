"""The import adds what is missing, supersedes what changed, and leaves alone what was done by hand."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from genai_prices.types import ClauseEquals, ConditionalPrice, ModelInfo, ModelPrice, Provider, StartDateConstraint
from tests.pricing.builders import per_million, priced_endpoint

from tollgate.catalog import service as catalogue
from tollgate.catalog.model import Catalogue
from tollgate.catalog.service import find_endpoint
from tollgate.entrypoints import price_import
from tollgate.entrypoints.cli_prices import prices
from tollgate.entrypoints.price_import import Plan
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import typed
from tollgate.kit.tokens import Kind
from tollgate.pricing import service as pricing
from tollgate.pricing.comparison import Action
from tollgate.pricing.model import STANDARD, PriceDraft, PriceVersion


def listed(provider: str, *models: ModelInfo) -> Provider:
    return Provider(id=provider, name=provider.title(), api_pattern=provider, models=list(models))


def a_model(name: str, price: str, *later: tuple[datetime, str]) -> ModelInfo:
    dated = [ConditionalPrice(StartDateConstraint(start.date()), prices=_both(text)) for start, text in later]
    undated = ConditionalPrice(prices=_both(price))
    return ModelInfo(id=name, match=ClauseEquals(equals=name), context_window=8192, prices=[undated, *dated])


def _both(price: str) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(price))


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> list[Provider]:
    """A price list of the test's own, in place of the package's."""
    own: list[Provider] = []
    monkeypatch.setattr(price_import, "price_list", own)
    return own


async def import_all(database: Database, now: datetime) -> Plan:
    published = 0

    def count(more: int) -> None:
        nonlocal published
        published += more

    async with database.write() as session:
        planned = await price_import.plan(session, only=frozenset(), now=now)
        await price_import.apply(session, planned, now=now, progress=count)
    assert published == planned.version_count
    return planned


async def load(database: Database) -> Catalogue:
    async with database.read() as session:
        return await catalogue.load_catalogue(session)


async def history(database: Database, model: str, provider: str) -> list[PriceVersion]:
    async with database.read() as session:
        endpoint_id = (await find_endpoint(session, model=model, provider=provider)).id
        publications = await pricing.history(session, endpoint_id, before=None, count=100)
    return [publication.version for publication in reversed(publications)]


def actions(planned: Plan) -> list[Action]:
    return [difference.action for difference in planned.differences]


async def test_a_known_provider_is_ready_to_be_called_and_another_one_only_listed(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list += [listed("groq", a_model("llama-4", "1")), listed("modal", a_model("meta/llama-4", "2"))]

    planned = await import_all(database, clock.now())

    here = await load(database)
    assert actions(planned) == [Action.ADDED, Action.ADDED]
    assert here.providers["groq"].base_url == "https://api.groq.com/openai/v1"
    assert here.providers["modal"].base_url == "env:MODAL_BASE_URL"
    assert [endpoint.enabled for endpoint in here.endpoints_of("groq/llama-4")] == [True]
    assert [endpoint.enabled for endpoint in here.endpoints_of("meta/llama-4")] == [False]


async def test_an_endpoint_is_only_cut_short_where_that_is_known_to_stop_the_charge(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list += [listed(provider, a_model("meta/llama-4", "1")) for provider in ("groq", "modal", "together", "x-ai")]

    await import_all(database, clock.now())

    stops = {each.provider: each.supports_cancel for each in (await load(database)).endpoints_of("meta/llama-4")}
    assert stops == {"groq": False, "modal": False, "together": True, "x-ai": True}


async def test_dated_prices_become_a_history(database: Database, clock: FixedClock, price_list: list[Provider]) -> None:
    past, future = datetime(2025, 6, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    price_list.append(listed("groq", a_model("llama-4", "3", (past, "2"), (future, "1"))))

    await import_all(database, clock.now())

    versions = await history(database, "groq/llama-4", "groq")
    assert [version.effective_to for version in versions] == [past, future, None]
    assert [version.items[0].unit_price for version in versions] == [3, 2, 1]


async def test_importing_twice_changes_nothing_the_second_time(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    future = datetime(2027, 1, 1, tzinfo=UTC)
    price_list.append(
        listed("groq", a_model("llama-4", "3", (future, "1")), a_model("qwen", "2"), a_model("Qwen", "4"))
    )
    await import_all(database, clock.now())
    before = await load(database)

    again = await import_all(database, clock.now() + timedelta(days=1))

    assert again.changes_nothing
    assert actions(again) == [Action.UNCHANGED, Action.UNCHANGED, Action.SKIPPED]
    assert await load(database) == before


async def test_a_changed_price_takes_effect_now_and_never_in_the_past(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list.append(listed("groq", a_model("llama-4", "3")))
    await import_all(database, clock.now())
    price_list[0] = listed("groq", a_model("llama-4", "3", (clock.now() - timedelta(days=30), "2")))
    tomorrow = clock.now() + timedelta(days=1)

    planned = await import_all(database, tomorrow)

    old, new = await history(database, "groq/llama-4", "groq")
    assert actions(planned) == [Action.CHANGED]
    assert planned.differences[0].detail == "prompt 3, completion 3 → prompt 2, completion 2"
    assert (old.effective_to, new.effective_from) == (tomorrow, tomorrow)


async def test_a_price_announced_for_later_is_published_for_then(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list.append(listed("groq", a_model("llama-4", "3")))
    await import_all(database, clock.now())
    future = datetime(2027, 1, 1, tzinfo=UTC)
    price_list[0] = listed("groq", a_model("llama-4", "3", (future, "2")))

    await import_all(database, clock.now() + timedelta(days=1))

    old, new = await history(database, "groq/llama-4", "groq")
    assert (old.effective_to, new.effective_from) == (future, future)


async def test_an_announced_price_that_is_withdrawn_is_a_conflict(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list.append(listed("groq", a_model("llama-4", "3", (datetime(2027, 1, 1, tzinfo=UTC), "2"))))
    await import_all(database, clock.now())
    price_list[0] = listed("groq", a_model("llama-4", "3"))

    planned = await import_all(database, clock.now() + timedelta(days=1))

    assert actions(planned) == [Action.CONFLICT]
    assert planned.changes_nothing


async def test_a_price_published_by_hand_is_left_alone(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list.append(listed("groq", a_model("llama-4", "3")))
    await import_all(database, clock.now())
    tomorrow = clock.now() + timedelta(days=1)
    async with database.write() as session:
        endpoint_id = (await find_endpoint(session, model="groq/llama-4", provider="groq")).id
        draft = PriceDraft(endpoint_id, None, STANDARD, tomorrow, (per_million(Kind.PROMPT, "9"),))
        await pricing.publish(session, draft, act=Act(clock.now()))

    planned = await import_all(database, tomorrow)

    assert actions(planned) == [Action.CONFLICT]
    assert planned.differences[0].detail == "published by hand: prompt 9 → prompt 3, completion 3"
    assert (await history(database, "groq/llama-4", "groq"))[-1].items[0].unit_price == 9


async def test_what_an_operator_changed_in_the_catalogue_stays(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    price_list.append(listed("groq", a_model("llama-4", "3")))
    await import_all(database, clock.now())
    async with database.write() as session:
        endpoint_id = (await find_endpoint(session, model="groq/llama-4", provider="groq")).id
        await catalogue.change_endpoint(
            session, endpoint_id, edit=lambda endpoint: replace(endpoint, enabled=False), act=Act(clock.now())
        )
    changed = await load(database)

    await import_all(database, clock.now())

    assert await load(database) == changed


async def test_models_that_cannot_be_brought_in_are_listed_with_the_reason(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    await priced_endpoint(database, clock.now())
    price_list += [
        listed("openai", a_model("gpt-4.1-mini", "0.5")),
        listed("openrouter", a_model("meta/llama-4:free", "0"), a_model("Meta/Big", "1"), a_model("meta/big", "2")),
        listed("google", a_model("claude-5", "3")),
        listed("groq", a_model("empty", "0.0000001")),
    ]

    planned = await import_all(database, clock.now())

    assert [(each.action, each.model, each.detail) for each in planned.differences] == [
        (Action.SKIPPED, "openai/gpt-4.1-mini", "its page is kept by hand"),
        (
            Action.SKIPPED,
            "meta/llama-4:free",
            "A model's slug is author/name: lower-case letters, digits, '.', '_' and '-'.",
        ),
        (Action.ADDED, "meta/big", "prompt 1, completion 1"),
        (Action.SKIPPED, "meta/big", "the list has this model of the provider twice"),
        (Action.SKIPPED, "google/claude-5", "another API of the provider serves it"),
        (Action.SKIPPED, "groq/empty", "A price per_million_tokens has at most 6 decimals."),
    ]


async def test_what_is_priced_and_cannot_write_is_told(
    database: Database, clock: FixedClock, price_list: list[Provider]
) -> None:
    """A list has prices of what is read alone for models that we take to write; they are published as they are."""

    def reads(name: str) -> ModelInfo:
        return ModelInfo(id=name, match=ClauseEquals(equals=name), prices=ModelPrice(input_mtok=Decimal(1)))

    price_list.append(listed("groq", reads("rerank-3"), reads("embed-3"), a_model("llama-4", "1")))

    planned = await import_all(database, clock.now())

    assert [(each.action, each.model) for each in planned.differences] == [
        (Action.ADDED, "groq/rerank-3"),
        (Action.INPUT_ONLY, "groq/rerank-3"),
        (Action.ADDED, "groq/embed-3"),
        (Action.ADDED, "groq/llama-4"),
    ]
    assert planned.differences[1].detail == "without a price of completion it can be called for embeddings alone"
    assert actions(await import_all(database, clock.now() + timedelta(days=1))) == [Action.UNCHANGED] * 3


class TestCommandLine:
    @pytest.mark.long  # the README's test imports the whole list, and others what is there already
    async def test_imports_the_whole_list_once(self, database_url: str) -> None:
        first = await answer(database_url, "import", "--yes", "--json")
        second = await answer(database_url, "import", "--yes", "--json")

        assert first["applied"] is True
        assert first["counts"]["added"] > 1500
        assert first["versions"] > first["endpoints_added"] > first["models_added"] > 1000
        assert second["versions"] == second["endpoints_added"] == second["counts"]["added"] == 0
        assert second["counts"]["unchanged"] == first["counts"]["added"]
        assert second["counts"]["skipped"] == first["counts"]["skipped"]

    async def test_shows_the_differences_and_asks_before_it_imports(
        self, database: Database, database_url: str
    ) -> None:
        asked = await invoke(database_url, "import", "--provider", "deepseek", text="n\n")

        assert "deepseek/deepseek-v3.2" in asked.output
        assert "its price depends on the time of day" in asked.output
        assert asked.output.endswith("Import? [y/N]: n\nAborted!\n")
        assert (await load(database)).models == {}

        agreed = await invoke(database_url, "import", "--provider", "deepseek", text="y\n")
        assert agreed.output.endswith("price versions published.\n")
        assert "deepseek/deepseek-v3.2" in (await load(database)).models
        assert "Import?" not in (await invoke(database_url, "import", "--provider", "deepseek")).output

    async def test_does_not_ask_on_a_line_that_a_program_reads(self, database_url: str) -> None:
        refused = await invoke(database_url, "import", "--json")

        assert refused.exit_code == 2
        assert "give --yes with it" in refused.output

    async def test_tells_whom_it_does_not_ask_what_is_priced_by_its_input_alone(self, database_url: str) -> None:
        done = await invoke(database_url, "import", "--provider", "voyageai", "--yes")

        assert "voyageai/voyage-3-lite at voyageai: input only, without a price of completion" in done.output
        assert done.output.endswith("price versions published.\n")

    async def test_diff_changes_nothing(self, database: Database, database_url: str) -> None:
        difference = await answer(database_url, "diff", "--provider", "groq", "--json")

        assert difference["applied"] is False
        assert difference["providers_added"] == ["groq"]
        assert (await load(database)).providers == {}

    async def test_publishes_a_version_from_a_file(
        self, database: Database, database_url: str, clock: FixedClock, tmp_path: Path
    ) -> None:
        await priced_endpoint(database, clock.now())
        items = [{"kind": kind, "price": "7", "unit": "per_million_tokens"} for kind in ("prompt", "completion")]
        file = tmp_path / "price.json"
        file.write_text(json.dumps({"model": "sandbox/echo", "provider": "sandbox", "items": items}))

        published = await answer(database_url, "publish", str(file), "--json")

        assert published["published_by"] is None
        said = await invoke(database_url, "publish", str(file))
        assert "sandbox/echo at sandbox, standard, from 20" in said.output
        latest = (await history(database, "sandbox/echo", "sandbox"))[-2]
        assert typed("price", latest.id) == published["id"]
        assert latest.items == (per_million(Kind.PROMPT, "7"), per_million(Kind.COMPLETION, "7"))

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("{", "not valid JSON"),
            ('{"model": "a/b", "provider": "c", "items": []}', "There is no model 'a/b'"),
            ('{"model": "sandbox/echo", "provider": "sandbox", "items": []}', "Price at least prompt tokens"),
        ],
    )
    async def test_says_what_is_wrong_with_a_file(
        self, database: Database, database_url: str, clock: FixedClock, text: str, complaint: str
    ) -> None:
        await priced_endpoint(database, clock.now())

        refused = await invoke(database_url, "publish", "-", text=text)

        assert refused.exit_code == 1
        assert complaint in refused.output


async def invoke(database_url: str, *arguments: str, text: str | None = None) -> Result:
    """Run a command in a thread of its own, where it may have an event loop of its own."""
    environment = {"TOLLGATE_DATABASE_URL": database_url, "COLUMNS": "200"}
    return await asyncio.to_thread(CliRunner().invoke, prices, arguments, input=text, env=environment)


async def answer(database_url: str, *arguments: str) -> dict[str, Any]:
    """What a command answers with --json."""
    result = await invoke(database_url, *arguments)
    assert result.exit_code == 0, result.output
    decoded: dict[str, Any] = json.loads(result.stdout)
    return decoded
