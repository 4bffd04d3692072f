"""Runs migrations on the connection of infra.upgrades, or for the `alembic` command on TOLLGATE_DATABASE_URL."""

import asyncio
import importlib
import os
import pkgutil
from importlib.util import find_spec

from alembic import context
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

import tollgate

JOB_TABLES = "pgqueuer"
"""The prefix of the tables that the job queue's own library defines."""


def tables_of_all_slices() -> MetaData:
    for module in pkgutil.iter_modules(tollgate.__path__):
        if module.ispkg and find_spec(f"tollgate.{module.name}.tables"):
            importlib.import_module(f"tollgate.{module.name}.tables")
    return SQLModel.metadata


def run(connection: Connection) -> None:
    comparing = context.config.attributes.get("comparing", "connection" not in context.config.attributes)
    partitions = set(connection.execute(text("SELECT relname FROM pg_class WHERE relispartition")).scalars())
    connection.commit()

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name is None or not (name in partitions or name.startswith(JOB_TABLES))

    context.configure(
        connection=connection,
        target_metadata=tables_of_all_slices() if comparing else None,
        include_name=ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_from_command_line() -> None:
    engine = create_async_engine("postgresql+asyncpg://" + os.environ["TOLLGATE_DATABASE_URL"].split("://", 1)[1])
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


if "connection" in context.config.attributes:
    run(context.config.attributes["connection"])
else:
    asyncio.run(run_from_command_line())
