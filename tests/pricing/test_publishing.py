"""Operators publish versions from files and options, see first what would change, and learn what is wrong."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import NOON, a_copy
from tests.pricing.builders import per_million, priced_endpoint
from tests.pricing.test_import import answer, history, invoke

from tollgate.entrypoints import price_files
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.tokens import Kind

SANDBOX = {"model": "sandbox/echo", "provider": "sandbox"}
OPENAI = {"model": "openai/gpt-4.1-mini", "provider": "openai"}
PROMPT, OUTPUT = ({"kind": kind, "price": "7", "unit": "per_million_tokens"} for kind in ("prompt", "completion"))
TOML = """
[[prices]]
model = "sandbox/echo"
provider = "sandbox"
effective_from = 2100-01-01T00:00:00Z
items = [
    {kind = "prompt", price = "7", unit = "per_million_tokens", prompt_tokens = {lt = 1000}},
    {kind = "prompt", price = "9", unit = "per_million_tokens", prompt_tokens = {gte = 1000}},
    {kind = "completion", price = "9", unit = "per_million_tokens"},
]

[[prices]]
model = "openai/gpt-4.1-mini"
provider = "openai"
items = [
    {kind = "prompt", price = "0.4", unit = "per_million_tokens"},
    {kind = "completion", price = "1.6", unit = "per_million_tokens"},
]
"""


@pytest.fixture
async def url(server_url: str, template: str) -> AsyncIterator[str]:
    """A database with the seeded prices."""
    async with a_copy(server_url, template, f"{template}_publishing") as url:
        database = databases.connect(url)
        await priced_endpoint(database, NOON)
        await database.close()
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = databases.connect(url)
    yield opened
    await opened.close()


class TestReading:
    def test_one_version_is_one_in_either_language(self) -> None:
        as_json = price_files.read("p.json", json.dumps({**SANDBOX, "items": [PROMPT]}).encode())
        as_toml = price_files.read("p.toml", TOML.split("[[prices]]")[2].encode())
        assert (as_json[1], as_toml[1]) == (False, False)
        assert as_json[0][0].place == "p.json"
        assert as_toml[0][0].body.model == "openai/gpt-4.1-mini"

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_many_versions_are_a_list(self, *, wrapped: bool) -> None:
        many: Any = [{**SANDBOX, "items": [PROMPT]}, {**OPENAI, "items": []}]
        entries, is_list = price_files.read("p.json", json.dumps({"prices": many} if wrapped else many).encode())
        assert is_list
        assert [entry.place for entry in entries] == ["p.json: prices[0]", "p.json: prices[1]"]

    @pytest.mark.parametrize(
        ("name", "text", "told", "field"),
        [
            ("p.json", b'{\n "model": }', "p.json:2:11: this is not valid JSON: Expecting value.", None),
            ("p.json", b'{"model": "\n\xff"}', "p.json:2: this is not text in UTF-8.", None),
            ("p.json", b"[1]", "p.json: prices[0]: Expected `object`, got `int`.", None),
            ("p.json", b"null", "p.json: Expected `object`, got `null`.", None),
            ("p.json", b'[{"model": "a/b"}]', "p.json: prices[0]: provider is required.", "provider"),
            (
                "p.json",
                b'[{"model": "a/b", "provider": "c", "items": [{"kind": "prompt", "price": 1, "unit": "per_count"}]}]',
                "p.json: prices[0]: items[0].price: Money is a decimal string",
                "items[0].price",
            ),
            ("p.json", b'{"model": "a/b", "color": 1}', "p.json: There is no field 'color' here.", "color"),
            ("p.toml", b'model = "a/b"\nprovider = \n', "p.toml:2:12: this is not valid TOML: Invalid value.", None),
            ("p.toml", b'a = 1\nmodel = "\xff"', "p.toml:2: this is not text in UTF-8.", None),
            ("p.toml", b'model = "a/b"\na = "', "p.toml: this is not valid TOML: ", None),
            (
                "p.toml",
                b'[[prices]]\nmodel = "a/b"\nprovider = "c"\nitems = []\neffective_from = 2100-01-01T00:00:00',
                "p.toml: prices[0]: effective_from: ",
                "effective_from",
            ),
        ],
    )
    def test_what_is_wrong_is_told_by_its_place(self, name: str, text: bytes, told: str, field: str | None) -> None:
        with pytest.raises(InvalidRequest) as refused:
            price_files.read(name, text)
        assert refused.value.message.startswith(told)
        assert refused.value.field == field

    def test_options_say_kinds_and_tiers(self) -> None:
        entry = price_files.from_options(
            ["completion=2", "prompt@200000=6", "prompt=3", "web_search=0.01"], **SANDBOX, organization=None
        )
        assert [item.item() for item in entry.body.items][:3] == [
            per_million(Kind.COMPLETION, "2"),
            per_million(Kind.PROMPT, "3", 0, 200_000),
            per_million(Kind.PROMPT, "6", 200_000),
        ]
        assert entry.body.items[3].unit == "per_count"

    @pytest.mark.parametrize("price", ["prompt", "prompt=", "prompts=1", "prompt@x=1", "=1"])
    def test_an_option_that_is_no_price_is_named(self, price: str) -> None:
        with pytest.raises(InvalidRequest, match="--price"):
            price_files.from_options([price], **SANDBOX)


class TestCommandLine:
    async def test_shows_what_a_file_would_change_and_writes_nothing(
        self, database: Database, url: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(TOML)
        flex = {**OPENAI, "service_tier": "flex", "items": [PROMPT, OUTPUT]}
        same = [
            {"kind": kind, "price": price, "unit": "per_million_tokens"}
            for kind, price in (("completion", "2"), ("input_cache_read", "0.10"), ("prompt", "1"))
        ]
        past = {**OPENAI, "items": [PROMPT, OUTPUT], "effective_from": "2026-01-01T00:00:00Z"}

        changed = await answer(url, "diff", str(file), "--json")
        piped = await invoke(url, "diff", "-", text=json.dumps([flex, {**SANDBOX, "items": same}, past]))

        assert [(each["action"], each["detail"]) for each in changed["differences"]] == [
            ("changed", "prompt 1, input_cache_read 0.1, completion 2 → prompt 7, prompt 9 [from 1,000], completion 9"),
            ("changed", "prompt 0.4, input_cache_read 0.1, completion 1.6 → prompt 0.4, completion 1.6"),
        ]
        assert changed["applied"] is False
        assert "1 added, 0 changed, 1 unchanged, 1 conflict" in piped.output
        assert "takes effect now or later" in piped.output
        assert len(await history(database, "sandbox/echo", "sandbox")) == 1

    async def test_publishes_a_file_whole_or_not_at_all(self, database: Database, url: str, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(TOML + '[[prices]]\nmodel = "sandbox/echo"\nprovider = "nobody"\nitems = []\n')

        refused = await invoke(url, "publish", str(file))
        file.write_text(TOML)
        published = await answer(url, "publish", str(file), "--json")

        assert refused.exit_code == 1
        assert f"{file}: prices[2]: provider: sandbox/echo is not offered by 'nobody'." in refused.output
        assert [each["model"] for each in published["data"]] == ["sandbox/echo", "openai/gpt-4.1-mini"]
        assert len(await history(database, "sandbox/echo", "sandbox")) == 2

    async def test_leaves_out_what_changes_nothing_if_told_to(self, database: Database, url: str) -> None:
        same = ["--price", "prompt=1", "--price", "completion=2", "--price", "input_cache_read=0.1"]
        options = ["publish", "--model", "sandbox/echo", "--provider", "sandbox", "--only-changes"]

        unchanged = await invoke(url, *options, *same)
        changed = await answer(url, *options, "--price", "prompt=2", "--price", "completion=2", "--json")

        assert unchanged.output.endswith("Nothing changes.\n")
        assert changed["items"][0]["price"] == "2"
        assert len(await history(database, "sandbox/echo", "sandbox")) == 2

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "give a FILE, or else --model"),
            (["-", "--model", "a/b"], "give a FILE, or else --model"),
            (["--model", "sandbox/echo"], "the options: provider is required."),
            (
                ["--model", "a/b", "--provider", "c", "--price", "prompt=1"],
                "the options: There is no model 'a/b'.",
            ),
            (["--model", "sandbox/echo", "--provider", "sandbox", "--price", "free"], "--price 'free': say KIND=PRICE"),
            (
                ["--model", "sandbox/echo", "--provider", "sandbox", "--price", "prompt@5=1"],
                "the options: items[0].prompt_tokens: There is no price of prompt from 0 prompt tokens on.",
            ),
            (
                ["--model", "sandbox/echo", "--provider", "sandbox", "--price", "prompt=1"],
                "the options: items: Calls of this endpoint write, so completion needs a price too",
            ),
            (
                ["--model", "sandbox/echo", "--provider", "sandbox", "--price", "prompt=1", "--organization", "acme"],
                "the options: organization: ",
            ),
        ],
    )
    async def test_says_what_is_wrong_with_options(self, url: str, arguments: list[str], told: str) -> None:
        refused = await invoke(url, "publish", *arguments, text="{}")
        assert refused.exit_code in {1, 2}
        assert told in refused.output

    @pytest.mark.parametrize("command", ["import", "diff", "publish"])
    async def test_every_command_explains_itself(self, url: str, command: str) -> None:
        told = await invoke(url, command, "--help")
        assert told.exit_code == 0
        assert "--json" in told.output

    async def test_a_provider_of_the_public_list_is_not_one_of_a_file(self, url: str) -> None:
        refused = await invoke(url, "diff", "-", "--provider", "groq", text="[]")
        assert "--provider chooses from the public list" in refused.output
