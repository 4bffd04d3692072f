"""The commands that act on issued invoices, run as their user runs them, on a real database."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.invoices.acting import TEN_DOLLARS
from tests.invoices.builders import Books, Used

from tollgate.entrypoints.cli_invoice_acts import invoices
from tollgate.invoices.model import Month

LONG_AGO = datetime(2020, 2, 1, tzinfo=UTC)
"""The commands read the real clock, for which this month is over in any case."""
NUMBER = "TG-2020-000001"
WHY = ("--reason", "wrong")


class Run:
    """Runs commands in a thread of their own: they bring their own event loop."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    async def __call__(self, *arguments: str) -> Result:
        environment = {"TOLLGATE_DATABASE_URL": self._database_url}
        return await asyncio.to_thread(CliRunner().invoke, invoices, arguments, env=environment)

    async def told(self, *arguments: str) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()


@pytest.fixture
async def run(database_url: str, books: Books) -> Run:
    """Commands on a database with one invoice, of ten dollars."""
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO, TEN_DOLLARS))
    await books.close(organization, Month(2020, 2), now=LONG_AGO)
    return Run(database_url)


async def test_a_void_invoice_is_issued_again_by_closing_the_month(run: Run) -> None:
    told = await run.told("void", NUMBER, *WHY)
    closed = json.loads(await run.told("close", "--month", "2020-02", "--json"))

    assert told == f"{NUMBER} is void; due: 0.00 USD"
    assert closed["closed"][0]["invoice"]["status"] == "finalised"


async def test_an_invoice_is_paid_credited_and_refunded_step_by_step(run: Run) -> None:
    steps = [
        ("mark-paid", NUMBER, "--amount", "4", "--reference", "wire 7", "--at", "2020-03-05"),
        ("credit", NUMBER, *WHY, "--line", "1=2.50"),
        ("mark-uncollectible", NUMBER, *WHY),
        ("mark-paid", NUMBER),
        ("credit", NUMBER, *WHY, "--amount", "1"),
        ("mark-refunded", NUMBER),
        ("credit", NUMBER, *WHY, "--settle", "credit"),
    ]

    told = [await run.told(*step) for step in steps]

    year = datetime.now(UTC).year  # noqa: TID251 - the commands number by the real clock
    assert told == [
        f"{NUMBER} is finalised; due: 6.00 USD",
        f"CN-{year}-000001: -2.50 USD",
        f"{NUMBER} is uncollectible; due: 3.50 USD",
        f"{NUMBER} is paid; due: 0.00 USD",
        f"CN-{year}-000002: -1.00 USD",
        f"{NUMBER} is paid; due: 0.00 USD",
        f"CN-{year}-000003: -6.50 USD",
    ]


async def test_answers_are_the_interfaces_own_as_json(run: Run) -> None:
    paid = json.loads(await run.told("mark-paid", NUMBER, "--json"))
    note = json.loads(await run.told("credit", NUMBER, *WHY, "--line", "1", "--json"))

    assert (paid["number"], paid["amount_due"]) == (NUMBER, "0.00")
    assert (note["invoice"]["number"], note["total"]) == (NUMBER, "-10.00")


async def test_a_credit_note_is_written_to_a_file_by_its_number(run: Run, tmp_path: Path) -> None:
    number = json.loads(await run.told("credit", NUMBER, *WHY, "--json"))["number"]
    path = tmp_path / "note.pdf"

    await run.told("pdf", number, "--output", str(path))
    missing = await run("pdf", "CN-2020-000009")

    assert path.read_bytes().startswith(b"%PDF-")
    assert "There is no such credit note" in missing.stderr


MISTAKES: Sequence[tuple[Sequence[str], str]] = (
    (["void", NUMBER], "Missing option '--reason'"),
    (["void", "TG-2020-000009", *WHY], "There is no such invoice"),
    (["mark-paid", NUMBER, "--amount", "ten"], "is not a decimal number"),
    (["mark-paid", NUMBER, "--amount", "11"], "at most what is due, 10.00 USD."),
    (["mark-refunded", NUMBER], "a credit note says what is"),
    (["credit", NUMBER, *WHY, "--line", "first"], "does not begin with the number of a line"),
    (["credit", NUMBER, *WHY, "--line", "2"], "has no such line: 2"),
    (["credit", NUMBER, *WHY, "--settle", "cash"], "'cash' is not one of"),
)


async def test_a_mistake_is_told_in_one_line(run: Run) -> None:
    for arguments, told in MISTAKES:
        result = await run(*arguments)

        assert result.exit_code != 0, arguments
        assert told in result.stderr
        assert "Traceback" not in result.stderr
