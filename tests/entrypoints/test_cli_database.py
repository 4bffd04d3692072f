"""Commands that meet a database they cannot work with say so in one line, whichever command it is."""

import asyncio

import click
import pytest
from click.testing import CliRunner, Result
from tests.conftest import url_of

from tollgate.entrypoints.cli_accounts import keys, organizations
from tollgate.entrypoints.cli_invoices import invoices
from tollgate.entrypoints.cli_prices import prices

COMMANDS: list[tuple[click.Command, list[str]]] = [
    (organizations, ["list"]),
    (keys, ["create", "--kind", "operator", "--name", "root"]),
    (invoices, ["close", "--month", "2020-02"]),
    (prices, ["diff"]),
]
commands = pytest.mark.parametrize(("command", "arguments"), COMMANDS, ids=lambda each: getattr(each, "name", None))


async def invoke(command: click.Command, arguments: list[str], database_url: str) -> Result:
    runner = CliRunner(env={"TOLLGATE_DATABASE_URL": database_url})
    return await asyncio.to_thread(runner.invoke, command, arguments)


def is_one_line_about(result: Result, *texts: str) -> bool:
    assert result.exit_code == 1, result.exception
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.startswith("Error: ") and all(text in line for text in texts)


@commands
async def test_a_database_without_a_schema(
    command: click.Command, arguments: list[str], empty_database_url: str
) -> None:
    result = await invoke(command, arguments, empty_database_url)

    assert is_one_line_about(result, "not up to date", "does not exist", "scripts/tollgate migrate")


@commands
async def test_a_database_that_is_not_there(command: click.Command, arguments: list[str], server_url: str) -> None:
    result = await invoke(command, arguments, url_of(server_url, "nowhere"))

    assert is_one_line_about(result, 'the database failed: database "nowhere" does not exist')


async def test_a_server_that_is_away() -> None:
    result = await invoke(organizations, ["list"], "postgresql://nobody@127.0.0.1:9/nothing")

    assert is_one_line_about(result, "Connect call failed")


@pytest.mark.parametrize("text", ["nonsense", "mysql://localhost/tollgate"])
async def test_what_is_no_address_of_a_database(text: str) -> None:
    result = await invoke(organizations, ["list"], text)

    assert is_one_line_about(result, "TOLLGATE_DATABASE_URL is no URL that begins with postgresql://")
