"""The commands about money at Stripe, in a shell that does not have the keys."""

import asyncio

import pytest
from click.testing import CliRunner, Result

from tollgate.entrypoints.cli_payments import payments


async def invoke(database_url: str, *arguments: str) -> Result:
    runner = CliRunner(env={"TOLLGATE_DATABASE_URL": database_url, "TOLLGATE_STRIPE_SECRET_KEY": ""})
    return await asyncio.to_thread(runner.invoke, payments, arguments)


@pytest.mark.parametrize("command", ["collect", "reconcile"])
async def test_what_needs_stripe_says_which_variable_is_missing(database_url: str, command: str) -> None:
    result = await invoke(database_url, command)

    assert result.exit_code == 1
    assert "TOLLGATE_STRIPE_SECRET_KEY is not set" in result.output


async def test_books_that_were_never_compared_have_no_count_of_differences(database_url: str) -> None:
    result = await invoke(database_url, "status")

    assert result.output.splitlines()[-1] == "Compared with Stripe: never"
