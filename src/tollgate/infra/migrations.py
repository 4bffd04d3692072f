"""Migrations: which schema this program was written for, and whether a database has it.

Every process asks as it starts, so nothing here loads Alembic; `infra.upgrades` does when there is something to do.
"""

import asyncio
import re
from enum import Enum
from pathlib import Path
from typing import Any, cast

import asyncpg
import structlog
from sqlalchemy import Connection, text

from tollgate.kit.errors import TollgateError

ROOT = Path(__file__).resolve().parents[3]
"""The repository: the project is installed from it, in place."""
_RETRY_SECONDS = 1
_VERSIONS = ROOT / "migrations" / "versions"
_REVISION = re.compile(r"^revision = [\"'](.+)[\"']$", re.MULTILINE)
_DOWN_REVISION = re.compile(r"^down_revision = (?:[\"'](.+)[\"']|None)$", re.MULTILINE)

_log = structlog.get_logger(__name__)


class MigrationFailed(TollgateError):
    """The schema could not be brought up to date; nothing of the failed migration remains."""


class SchemaMismatch(TollgateError):
    """The schema is not the one this program was written for."""


class Position(Enum):
    """Where a database's schema stands in the chain of our migrations."""

    CURRENT = "current"
    BEHIND = "behind"


async def require_current(database_url: str) -> None:
    """Refuse a schema that is older or newer than this program.

    Raises:
        SchemaMismatch: it is; the message says what to do.
        MigrationFailed: the database cannot be reached.
    """
    _require(await position(database_url))


def require_head(applied: str | None) -> None:
    """Refuse a database whose last migration was not the newest that this program knows.

    Raises:
        SchemaMismatch: it was not; the message says what to do.
    """
    _require(position_of(applied))


def _require(found: Position) -> None:
    if found is Position.BEHIND:
        raise SchemaMismatch("the database schema is older than this program: run `scripts/tollgate migrate`")


async def until_current(database_url: str) -> None:
    """Wait for a database that is away: what replaces a process that died must not take its whole group along.

    Raises:
        SchemaMismatch: it is there, and its schema is not the one this was written for.
    """
    while True:
        try:
            await require_current(database_url)
        except MigrationFailed as error:
            _log.warning("the database is away", reason=str(error), retry_seconds=_RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def position(database_url: str) -> Position:
    """Where the database stands.

    Raises:
        SchemaMismatch: ahead of this program.
        MigrationFailed: the database cannot be reached.
    """
    try:
        connection = await asyncpg.connect(database_url)
    except (OSError, asyncpg.PostgresError) as error:
        raise MigrationFailed(f"the database cannot be reached: {error}") from error
    try:
        if not await connection.fetchval("SELECT to_regclass('alembic_version')"):
            return Position.BEHIND
        applied = await connection.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()
    return position_of(applied)


def position_of(applied: str | None) -> Position:
    """Where a database stands whose last migration was this one.

    Raises:
        SchemaMismatch: we do not know it.
    """
    if applied is not None and applied not in revisions():
        raise SchemaMismatch(
            f"the database schema ({applied}) is newer than this program ({head()}): upgrade the program"
        )
    return Position.CURRENT if applied == head() else Position.BEHIND


def head() -> str:
    """The newest revision this program knows: the one that no other follows."""
    (newest,) = set(revisions()) - set(revisions().values())
    return newest


def revisions() -> dict[str, str | None]:
    """Every revision this program knows, and the one before it."""
    known = {}
    for file in sorted(_VERSIONS.glob("*.py")):
        source = file.read_text()
        revision, before = _REVISION.search(source), _DOWN_REVISION.search(source)
        if revision is None or before is None:
            raise MigrationFailed(f"{file} does not say `revision = …` and `down_revision = …`")
        known[revision[1]] = before[1]
    return known


def run_script(connection: Connection, script: str) -> None:
    """Run a script of many statements as part of a migration's transaction; for `op.get_bind()`.

    SQLAlchemy prepares every statement, and PostgreSQL prepares only one at a time; the driver itself takes a script.
    """
    connection.execute(text("SELECT"))  # SQLAlchemy begins its transaction with its own first statement
    cast("Any", connection.connection.dbapi_connection).run_async(lambda driver: driver.execute(script))


def restore(connection: Connection, script: Path, name: str) -> None:
    """Define a function or procedure again as the script of an earlier migration does, where it stands once."""
    definition = re.compile(
        rf"^CREATE (?:OR REPLACE )?((?:FUNCTION|PROCEDURE) {name}\(.*?^\$\$;)$", re.DOTALL | re.MULTILINE
    )
    (found,) = definition.findall(script.read_text())
    run_script(connection, f"CREATE OR REPLACE {found}")


def refuse_to_lose(connection: Connection, what: str, where: str) -> None:
    """Refuse a downgrade while there is something that the older schema has no place for.

    `where` is the FROM clause, and what follows it, that finds such rows.

    Raises:
        MigrationFailed: there is some.
    """
    if connection.execute(text(f"SELECT EXISTS (SELECT FROM {where})")).scalar_one():
        raise MigrationFailed(f"{what} cannot be kept by an older schema: restore a backup instead")
