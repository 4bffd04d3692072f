"""The example of docs/invoices-life.md, run command by command."""

import asyncio
import json
import re
import shlex
from datetime import UTC, datetime

from click.testing import CliRunner
from tests.invoices.builders import Books, Used

from tollgate.entrypoints.cli_invoice_acts import invoices
from tollgate.infra.migrations import ROOT
from tollgate.invoices.model import Month
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger

ACCOUNTS = ("receivable", "cash", "uncollectible", "revenue", "rounding")
LONG_AGO = datetime(2020, 2, 1, tzinfo=UTC)
USED = {Kind.PROMPT: 25_012_345, Kind.COMPLETION: 7_000_003}
"""10.004938 and 11.2000048 dollars."""


def rows() -> list[list[str]]:
    example = (ROOT / "docs" / "invoices-life.md").read_text().partition("## An example")[2]
    table = [line for line in example.splitlines() if re.match(r"\| (`|\|)", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


async def test_every_row_is_what_its_command_makes_of_the_one_before(books: Books, database_url: str) -> None:
    organization = await books.an_organization(now=LONG_AGO)
    await books.record(organization, Used(LONG_AGO, USED))
    await books.close(organization, Month(2020, 2), now=LONG_AGO)
    environment = {"TOLLGATE_DATABASE_URL": database_url}

    async def told(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, invoices, arguments, env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    found = rows()
    assert len(found) == 7
    for command, *said in found:
        if command:
            await told(*shlex.split(command.strip("`"))[2:])
        shown = json.loads(await told("show", "TG-2020-000001", "--json"))
        async with books.database.read() as session:
            balances = [
                await ledger.balance(session, organization_id=organization.id, account=account, currency="USD")
                for account in ACCOUNTS
            ]
        assert [shown["status"], shown["amount_due"], *map(amount_text, balances)] == said, command
