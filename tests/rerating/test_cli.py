"""`tollgate rerate`, run as its user runs it, on a real database."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.conftest import NOON
from tests.rerating.scene import EXAMPLE, NOBODY, Past

from tollgate.entrypoints.cli_rerate import rerate
from tollgate.kit.ids import typed
from tollgate.kit.tokens import Kind


async def ran(database_url: str, *arguments: str, given: str | None = None) -> Result:
    """The command, in a thread of its own: it brings its own event loop."""
    environment = {"TOLLGATE_DATABASE_URL": database_url}
    return await asyncio.to_thread(CliRunner().invoke, rerate, arguments, env=environment, input=given)


async def test_the_command_shows_asks_and_applies(past: Past, database_url: str, tmp_path: Path) -> None:
    long_ago = NOON - timedelta(days=6 * 365)  # the command reads the real clock
    acme = await past.books.an_organization(now=long_ago)
    await past.books.record(acme, past.call(long_ago, {Kind.PROMPT: 1_000_000}))
    window = {"from": "2020-11-01T00:00:00Z", "to": "2020-12-01T00:00:00Z"}
    file = tmp_path / "november.json"
    file.write_text(json.dumps({**EXAMPLE, **window}))

    looked = await ran(database_url, str(file))
    refused = await ran(database_url, str(file), "--apply", given="n\n")
    before = await past.adjustments(acme)
    applied = await ran(database_url, str(file), "--apply", given="y\n")
    options = ("--model", "openai/gpt-4.1-mini", "--provider", "openai", "--from", window["from"], "--reason", "back")
    back = await ran(
        database_url, *options, "--to", window["to"], "--price", "prompt=0.4", "--price", "completion=1.6", "--json"
    )

    for shown in (typed("org", acme.id), "2020-11", "-0.2", "measured"):
        assert shown in looked.stdout
    assert (looked.exit_code, refused.exit_code, before) == (0, 1, [])
    assert "applied: 1 organizations done" in applied.stdout
    assert [str(each.amount) for each in await past.adjustments(acme)] == ["0.200000000000"]
    answer = json.loads(back.stdout)
    assert (answer["difference"], answer["organizations"][0]["difference"]) == ("0.2", "0.2")
    done = await ran(database_url, "--dry-run", answer["id"], "--apply", "--yes", "--json")
    assert json.loads(done.stdout)["state"] == "applied"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a FILE, or --dry-run, or else --model"),
        (["--dry-run", "x"], "is no id: it has to be rerate_ and a UUID"),
        (["--model", "a/b"], "the options: provider is required"),
        (["--price", "prompt"], "say KIND=PRICE"),
        (["--model", "a/b", "--apply", "--json"], "give --yes with it"),
        (["--dry-run", NOBODY], "There is no such re-rate"),
    ],
)
async def test_a_mistake_is_told_in_one_line(database_url: str, arguments: list[str], said: str) -> None:
    result = await ran(database_url, *arguments)

    assert result.exit_code != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr
