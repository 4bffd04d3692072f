"""Organizations and keys from the command line, on a real database."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from tollgate.entrypoints.cli_accounts import keys, organizations
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import SystemClock
from tollgate.kit.principal import KeyKind

Command = Callable[..., Awaitable[Result]]


@pytest.fixture
def command(database_url: str) -> Command:
    async def invoke(group: click.Command, *arguments: str) -> Result:
        runner = CliRunner(env={"TOLLGATE_DATABASE_URL": database_url})
        return await asyncio.to_thread(runner.invoke, group, arguments)

    return invoke


async def _json(command: Command, group: click.Command, *arguments: str) -> Any:
    result = await command(group, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class TestOrganizations:
    async def test_are_created_and_listed(self, command: Command) -> None:
        created = await _json(
            command, organizations, "create", "--name", "Acme", "--billing-mode", "postpaid", "--credit-limit", "2.50"
        )

        listed = await _json(command, organizations, "list")
        shown = await command(organizations, "list")

        assert listed == [created]
        assert (created["billing_mode"], created["credit_limit"]) == ("postpaid", "2.5")
        assert shown.stdout == f"{created['id']}  active  postpaid  Acme\n"

    async def test_are_not_listed_where_there_are_none(self, command: Command) -> None:
        assert await _json(command, organizations, "list") == []
        assert (await command(organizations, "list")).stdout == ""

    @pytest.mark.parametrize(
        "wrong", [("--name", ""), ("--credit-limit", "much"), ("--timezone", "Mars"), ("--currency", "usd")]
    )
    async def test_say_what_cannot_be(self, command: Command, wrong: tuple[str, str]) -> None:
        result = await command(organizations, "create", "--name", "Acme", *wrong)

        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert result.stdout == ""


class TestKeys:
    async def test_work_until_they_are_revoked(
        self, command: Command, pool: "asyncpg.Pool[asyncpg.Record]", database_url: str
    ) -> None:
        organization = (await _json(command, organizations, "create", "--name", "Acme"))["id"]
        owned = ("--organization", organization)
        text = (await command(keys, "create", *owned, "--name", "mine", "--model", "a/b", "--tag", "ci")).stdout.strip()

        principal = await KeyRing(pool, database_url=database_url).authenticate(text, SystemClock().now())
        (listed,) = await _json(command, keys, "list", *owned)
        revoked = await _json(command, keys, "revoke", listed["id"], *owned)

        assert (principal.kind, principal.models) == (KeyKind.INFERENCE, ("a/b",))
        assert listed["tags"] == ["ci"]
        assert revoked["revoked_at"] is not None
        assert await _json(command, keys, "list", *owned) == []
        shown = await command(keys, "list", *owned, "--include-revoked")
        assert shown.stdout == f"{listed['id']}  inference  {listed['label']}  revoked  mine\n"

    async def test_of_operators_belong_to_no_organization(self, command: Command) -> None:
        minted = await _json(command, keys, "create", "--kind", "operator", "--name", "root")

        assert minted["key"].startswith("ok-tg-")
        assert await _json(command, keys, "list") == [minted["data"]]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("create", "--name", "mine"),
            ("create", "--name", "mine", "--organization", "acme"),
            ("create", "--name", "mine", "--organization", "org_01890000-0000-7000-8000-000000000000"),
            ("create", "--name", "mine", "--kind", "operator", "--expires-at", "2020-01-01"),
            ("create", "--name", "mine", "--kind", "operator", "--expires-at", "0001-01-01"),
            ("create", "--name", "mine", "--kind", "operator", "--expires-at", "9999-12-31T23:59:59Z"),
            ("revoke", "key_01890000-0000-7000-8000-000000000000"),
            ("revoke", "mine"),
        ],
    )
    async def test_say_what_cannot_be(self, command: Command, arguments: tuple[str, ...]) -> None:
        result = await command(keys, *arguments)

        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert "Traceback" not in result.output
