"""Migrations: they run once, however many start them, and refuse what they cannot serve."""

import asyncio

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tollgate.infra import migrations, upgrades


async def test_many_processes_may_upgrade_one_empty_database_at_once(empty_database_url: str) -> None:
    await asyncio.gather(*(upgrades.upgrade(empty_database_url) for _ in range(4)))
    await migrations.require_current(empty_database_url)


def test_the_chain_of_migrations_is_the_one_alembic_sees() -> None:
    seen = ScriptDirectory.from_config(Config(toml_file=migrations.ROOT / "pyproject.toml"))
    assert migrations.head() == seen.get_current_head()
    assert set(migrations.revisions()) == {revision.revision for revision in seen.walk_revisions()}


async def test_an_upgraded_database_equals_the_tables_of_the_slices(database_url: str) -> None:
    assert await upgrades.drift(database_url) == []


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ("ALTER TABLE projects ADD COLUMN colour text", "remove_column"),
        ("ALTER TABLE projects DROP COLUMN name", "add_column"),
        ("ALTER TABLE projects ALTER COLUMN name DROP NOT NULL", "modify_nullable"),
        ("CREATE TABLE stray (id int)", "remove_table"),
    ],
)
async def test_a_difference_is_noticed(
    database_url: str, pool: "asyncpg.Pool[asyncpg.Record]", change: str, noticed: str
) -> None:
    await pool.execute(change)
    (difference,) = await upgrades.drift(database_url)
    assert noticed in difference


async def test_an_empty_database_is_refused_until_it_is_migrated(empty_database_url: str) -> None:
    with pytest.raises(migrations.SchemaMismatch, match="run `scripts/tollgate migrate`"):
        await migrations.require_current(empty_database_url)


async def test_a_schema_newer_than_the_program_is_refused(
    database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await pool.execute("UPDATE alembic_version SET version_num = '9999_tomorrow'")
    with pytest.raises(migrations.SchemaMismatch, match=r"9999_tomorrow.* is newer than this program"):
        await migrations.require_current(database_url)
    with pytest.raises(migrations.SchemaMismatch, match="upgrade the program"):
        await upgrades.upgrade(database_url)


async def test_a_server_that_is_away_is_named_as_the_reason() -> None:
    with pytest.raises(migrations.MigrationFailed, match="cannot be reached"):
        await upgrades.upgrade("postgresql://nobody@127.0.0.1:9/nothing")
