"""What the commands of the command line share: options that mean the same everywhere, and how their work is run."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import click

from tollgate.infra.embedded_postgres import running_url
from tollgate.infra.settings import BadSetting
from tollgate.kit.errors import TollgateError

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])

DATA_DIR_VARIABLE = "TOLLGATE_DATA_DIR"
DATABASE_URL_VARIABLE = "TOLLGATE_DATABASE_URL"


def data_dir_option(command: Command) -> Command:
    """`--data-dir`: passed to the command as `data_dir`, a Path."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=DATA_DIR_VARIABLE,
        default=".tollgate",
        show_default=True,
        show_envvar=True,
        help="Where the embedded database lives, and what is kept of calls for the ledger.",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`: passed to the command as `as_json`, a bool."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with one line of JSON.")(command)


def database_url(data_dir: Path) -> str:
    """The database to work on: TOLLGATE_DATABASE_URL, or the one that runs on the data directory.

    Raises:
        ClickException: there is neither, or the one that is set is no URL.
    """
    given = os.environ.get(DATABASE_URL_VARIABLE)
    if given:
        if not given.startswith(("postgresql://", "postgres://")):
            raise click.ClickException(f"{DATABASE_URL_VARIABLE} is no URL that begins with postgresql://")
        return given
    try:
        running = running_url(data_dir)
    except OSError as error:
        raise click.ClickException(f"cannot look into {data_dir}: {error.strerror}") from error
    if running is None:
        raise click.ClickException(
            f"no database: nothing serves from {data_dir.absolute()}. Start `scripts/serve` beside this, "
            f"give the --data-dir it serves from, or set {DATABASE_URL_VARIABLE}"
        )
    return running


def answer_json(value: object) -> None:
    """Print a command's answer as one line of JSON on standard output."""
    click.echo(json.dumps(value))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous work; what a person can act on becomes a line on standard error and exit code 1."""
    try:
        return asyncio.run(work)
    except (TollgateError, BadSetting, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise click.ClickException(str(error)) from error
