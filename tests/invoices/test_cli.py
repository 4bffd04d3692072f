"""`tollgate invoices`, run as its user runs it, on a real database."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.invoices.builders import PLAIN, Books, Used

from tollgate.entrypoints.cli_invoices import invoices
from tollgate.invoices import pdf
from tollgate.invoices.model import Month
from tollgate.kit import ids
from tollgate.kit.tokens import Kind

LONG_AGO = datetime(2020, 2, 1, tzinfo=UTC)
"""The commands read the real clock, for which this month is over in any case."""
FEBRUARY = Month(2020, 2)


@pytest.fixture
def run(database_url: str) -> "Run":
    return Run(database_url)


class Run:
    """Runs commands in a thread of their own: they bring their own event loop."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    async def __call__(self, *arguments: str, columns: int = 80) -> Result:
        environment = {"TOLLGATE_DATABASE_URL": self._database_url, "COLUMNS": str(columns)}
        return await asyncio.to_thread(CliRunner().invoke, invoices, arguments, env=environment)


async def test_close_issues_what_there_is_and_says_what_failed(run: Run, books: Books) -> None:
    fine, unpriced, _idle = [
        await books.an_organization(now=LONG_AGO, name=name) for name in ("Fine [1]", "Unpriced", "Idle")
    ]
    await books.record(fine, Used(LONG_AGO))
    await books.record(unpriced, Used(LONG_AGO, {**PLAIN, Kind.WEB_SEARCH: 1}))

    result = await run("close", "--month", "2020-02")

    assert result.exit_code == 1
    for told in ("Fine [1]", "TG-", "0.00 USD", "web_search", "nothing to invoice"):
        assert told in result.stdout


async def test_close_again_answers_the_same(run: Run, books: Books) -> None:
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO))
    arguments = ("close", "--month", "2020-02", "--organization", ids.typed("org", organization.id), "--json")

    first, second = await run(*arguments), await run(*arguments)

    assert (first.exit_code, first.stdout) == (0, second.stdout)
    closed = json.loads(first.stdout)["closed"]
    assert [(each["organization"], each["failure"]) for each in closed] == [(ids.typed("org", organization.id), None)]
    assert closed[0]["invoice"]["period"]["month"] == "2020-02"


async def test_list_and_show_tell_what_the_interface_tells(run: Run, books: Books) -> None:
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO))
    issued = await books.close(organization, FEBRUARY, now=LONG_AGO)
    identifier = ids.typed("inv", issued.heading.id)

    listed = await run("list", "--organization", ids.typed("org", organization.id))
    as_json = await run("list", "--organization", ids.typed("org", organization.id), "--json")
    shown = await run("show", identifier, columns=200)
    shown_json = await run("show", identifier, "--json")

    assert identifier in listed.stdout
    assert issued.heading.number is not None
    assert issued.heading.number in listed.stdout
    assert [each["id"] for each in json.loads(as_json.stdout)] == [identifier]
    assert "openai/gpt-4.1-mini: completion tokens" in shown.stdout
    assert json.loads(shown_json.stdout)["total_exact"] == "0.00082"


async def test_show_takes_the_number_as_well_as_the_id(run: Run, books: Books) -> None:
    one, another = [await books.an_organization(now=LONG_AGO, name=name) for name in ("One", "Another")]
    for organization in (one, another):
        await books.record(organization, Used(LONG_AGO))
    await books.close(one, FEBRUARY, now=LONG_AGO)
    issued = await books.close(another, FEBRUARY, now=LONG_AGO)
    assert issued.heading.number == "TG-2020-000002"

    by_number = await run("show", "TG-2020-000002", "--json")
    by_id = await run("show", ids.typed("inv", issued.heading.id), "--json")

    assert by_number.stdout == by_id.stdout
    assert json.loads(by_number.stdout)["id"] == ids.typed("inv", issued.heading.id)


async def test_show_names_what_keeps_a_draft_from_being_closed(run: Run, books: Books) -> None:
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO, {**PLAIN, Kind.WEB_SEARCH: 1}))
    drafted = ids.typed("inv", (await books.current(organization, now=LONG_AGO)).heading.id)

    shown, shown_json = await run("show", drafted), await run("show", drafted, "--json")

    assert "No price: 1 web_search of openai/gpt-4.1-mini" in shown.stdout
    assert json.loads(shown_json.stdout)["unpriced"] == [
        {"model": "openai/gpt-4.1-mini", "kind": "web_search", "quantity": 1}
    ]


async def test_amounts_are_whole_on_a_narrow_terminal(run: Run, books: Books) -> None:
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO))
    issued = await books.close(organization, FEBRUARY, now=LONG_AGO)

    shown = await run("show", ids.typed("inv", issued.heading.id))

    assert "0.00082" in shown.stdout
    assert "…" not in shown.stdout


async def test_pdf_writes_a_file_named_after_the_invoice(
    run: Run, books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO))
    issued = await books.close(organization, FEBRUARY, now=LONG_AGO)
    assert issued.document is not None

    named = await run("pdf", "TG-2020-000001")
    told = await run("pdf", ids.typed("inv", issued.heading.id), "--output", "other.pdf", "--json")
    refused = await run("pdf", "TG-2020-000001", "--output", "nowhere/a.pdf")

    made = Path("TG-2020-000001.pdf").read_bytes()
    assert made == Path("other.pdf").read_bytes() == pdf.pdf_of(issued.document)
    assert named.stdout == f"Wrote TG-2020-000001.pdf ({len(made):,} bytes)\n"
    assert json.loads(told.stdout) == {"file": "other.pdf", "bytes": len(made)}
    assert (refused.exit_code, "nowhere/a.pdf" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["close", "--month", "2026-13"], "is not a month of the form 2026-11"),
        (["close"], "Missing option '--month'"),
        (["close", "--month", "2026-11", "--organization", "acme"], "is no id: it has to be org_ and a UUID"),
        (["show", "inv_00000000-0000-0000-0000-000000000000"], "There is no such invoice"),
        (["show", "inv_1"], "is no id: it has to be inv_ and a UUID"),
        (["pdf", "TG-2020-000001"], "There is no such invoice"),
        (["pdf", "TG-2020-000001", "--output", "-", "--json"], "not both"),
        (["show", "TG-2020-000001"], "There is no such invoice"),
        (["list", "--organization", "org_00000000-0000-0000-0000-000000000001"], "There is no such organization"),
    ],
)
async def test_a_mistake_is_told_in_one_line(run: Run, arguments: Sequence[str], told: str) -> None:
    result = await run(*arguments)

    assert result.exit_code != 0
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], ["close"], ["list"], ["show"], ["pdf"]])
async def test_every_command_explains_itself(run: Run, command: list[str]) -> None:
    result = await run(*command, "--help")

    assert result.exit_code == 0
    assert "Usage:" in result.stdout
