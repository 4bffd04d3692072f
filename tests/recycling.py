"""Databases that tests have used, made as good as new: that takes a fraction of what copying the template does.

A database is used again under another name, so that nothing a test left running finds it; and only if nobody stays
connected to it, its schema was not touched, and it is still small. If in doubt it is dropped, and another copy made.
"""

import asyncio
import itertools
import os
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

BYTES_MAX = 24 * 1024**2
"""Rows that are deleted leave their room behind; a fresh copy takes eleven."""
_LOOKS_MAX = 30
_LOOKS_EVERY_SECONDS = 0.01
_NUMBERS = itertools.count(1)

_SEND_AWAY = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_CATALOGUES = {
    "pg_class": "oid", "pg_attribute": "attrelid", "pg_attrdef": "oid", "pg_proc": "oid", "pg_trigger": "oid",
    "pg_constraint": "oid", "pg_index": "indexrelid", "pg_type": "oid", "pg_namespace": "oid", "pg_rewrite": "oid",
    "pg_inherits": "inhrelid",
}  # fmt: skip
# Whatever changes a schema writes rows of a catalogue anew; those below 16384 are PostgreSQL's own.
_SCHEMA = " UNION ALL ".join(
    f"SELECT '{table}', count(*), sum(hashtext(xmin || ' ' || {key})::bigint) FROM {table} WHERE {key} >= 16384"
    for table, key in _CATALOGUES.items()
) + (
    " UNION ALL SELECT 'settings', count(*), NULL FROM pg_db_role_setting"
    " UNION ALL SELECT concat(datallowconn, datconnlimit, datacl), 0, NULL FROM pg_database"
    " WHERE datname = current_database()"
)
_TABLES = """
    SELECT oid::regclass::text AS name, pg_relation_size(oid) > 0 AS was_written FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_SEQUENCES = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
    WHERE schemaname = 'public' AND last_value IS NOT NULL
"""


@dataclass
class Shelf:
    """The databases of one process of tests; the server's role may do anything."""

    server: Connection
    template: str
    schema: list[asyncpg.Record] = field(default_factory=list)
    seeds: dict[str, str] = field(default_factory=dict)
    """What migrations write, by table."""
    idle: list[str] = field(default_factory=list)

    async def look_at(self, fresh: Connection) -> None:
        """Remember what a database is like that nobody has used."""
        self.schema = await fresh.fetch(_SCHEMA)
        for table in await fresh.fetch(_TABLES):
            rows = await fresh.fetchval(f"SELECT jsonb_agg(to_jsonb(t))::text FROM {table['name']} AS t")
            if rows:
                self.seeds[table["name"]] = rows

    async def take(self) -> str:
        """The name of a database as the template is."""
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        if self.idle:
            await self.server.execute(f"ALTER DATABASE {self.idle.pop()} RENAME TO {name}")
        else:
            await self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY FILE_COPY")
        return name

    async def put_back(self, name: str, url: str) -> None:
        """Keep the database for another test, if it can be made as it was."""
        if await self._is_as_new(url):
            self.idle.append(name)
        else:
            await self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _is_as_new(self, url: str) -> bool:
        try:
            connection = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            for _ in range(_LOOKS_MAX):
                if not await connection.fetchval(_SEND_AWAY):
                    break
                await asyncio.sleep(_LOOKS_EVERY_SECONDS)
            else:
                return False
            if await connection.fetch(_SCHEMA) != self.schema:
                return False
            await self._empty(connection)
            return bool(await connection.fetchval("SELECT pg_database_size(current_database())") < BYTES_MAX)
        finally:
            await connection.close()

    async def _empty(self, connection: Connection) -> None:
        written = [table["name"] for table in await connection.fetch(_TABLES) if table["was_written"]]
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")  # no trigger has a say in this
            await connection.execute(";".join(f"DELETE FROM {table}" for table in written))
            for table, rows in self.seeds.items():
                seed = f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)"
                await connection.execute(seed, rows)
            await connection.execute(_SEQUENCES)
