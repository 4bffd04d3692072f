"""How commands reach the database. Apart from `cli_options`, because `serve` starts sooner without what this loads."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tollgate.entrypoints import cli_options
from tollgate.infra import database as databases
from tollgate.infra.database import Database

_SCHEMA_MISSING = frozenset({"3F000", "42P01", "42703", "42883"})
"""PostgreSQL's codes for a schema, table, column or function that is not there."""


@asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[Database]:
    """The database that serves from the data directory, or TOLLGATE_DATABASE_URL's, for as long as the block runs.

    Raises:
        ClickException: there is none, it is away, or it refused; the message says which, without any statement.
    """
    # What is logged on the way is no part of the answer.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    database = databases.connect(cli_options.database_url(data_dir))
    try:
        yield database
    except SQLAlchemyError as error:
        raise click.ClickException(_told(error)) from error
    finally:
        await database.close()


def _told(error: SQLAlchemyError) -> str:
    """The server's own words, and what to do where that is known."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return str(error)
    said = error.orig.__cause__ or error.orig
    if getattr(error.orig, "sqlstate", None) in _SCHEMA_MISSING:
        return f"the database's schema is not up to date: {said}. Run `scripts/tollgate migrate`"
    return f"the database failed: {said}"
