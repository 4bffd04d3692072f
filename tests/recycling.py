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

BYTES_MAX = 4 * 1024**2
"""Rows that are deleted leave their room behind; of a fresh copy's tables nearly all are empty."""
_LOOKS_MAX = 30
_LOOKS_EVERY_SECONDS = 0.01
_NUMBERS = itertools.count(1)

_CATALOGUES = {
    "pg_class": "oid", "pg_attribute": "attrelid", "pg_attrdef": "oid", "pg_proc": "oid", "pg_trigger": "oid",
    "pg_constraint": "oid", "pg_index": "indexrelid", "pg_type": "oid", "pg_namespace": "oid", "pg_rewrite": "oid",
    "pg_inherits": "inhrelid",
}  # fmt: skip
# Whatever changes a schema writes rows of a catalogue anew, by a later transaction, or takes some away; those below
# 16384 are PostgreSQL's own.
_SCHEMA = " UNION ALL ".join(
    f"SELECT concat_ws(' ', '{table}', count(*), max(xmin::text::bigint)) FROM {table} WHERE {key} >= 16384"
    for table, key in _CATALOGUES.items()
) + (
    " UNION ALL SELECT concat('settings ', count(*)) FROM pg_db_role_setting"
    " UNION ALL SELECT concat_ws(' ', datallowconn, datconnlimit, datacl) FROM pg_database"
    " WHERE datname = current_database()"
)
_TABLES = """
    SELECT oid::regclass::text AS name, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
# In one question, for most of what a new connection asks is spent on finding its way about the catalogues; and what
# follows is looked at only when nobody else is there.
_LOOK = f"""
    WITH others AS MATERIALIZED (
        SELECT count(pg_terminate_backend(pid)) AS sent_away FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    )
    SELECT sent_away,
        CASE sent_away WHEN 0 THEN ARRAY({_SCHEMA}) END AS schema,
        CASE sent_away WHEN 0 THEN (SELECT sum(bytes) FROM ({_TABLES}) AS t) END AS bytes,
        CASE sent_away WHEN 0 THEN ARRAY(SELECT name FROM ({_TABLES}) AS t WHERE bytes > 0) END AS written
    FROM others
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
    schema: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    """What migrations write, as statements."""
    idle: list[str] = field(default_factory=list)

    async def look_at(self, fresh: Connection) -> None:
        """Remember what a database is like that nobody has used."""
        found = await fresh.fetchrow(_LOOK)
        assert found is not None
        self.schema = found["schema"]
        for table in found["written"]:
            rows = await fresh.fetchval(f"SELECT jsonb_agg(to_jsonb(t))::text FROM {table} AS t")
            if rows:
                made = f"jsonb_populate_recordset(NULL::{table}, $rows${rows}$rows$)"
                self.seeds.append(f"INSERT INTO {table} SELECT * FROM {made}")

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
                found = await connection.fetchrow(_LOOK)
                assert found is not None
                if not found["sent_away"]:
                    break
                await asyncio.sleep(_LOOKS_EVERY_SECONDS)
            else:
                return False
            if found["schema"] != self.schema or found["bytes"] > BYTES_MAX:
                return False
            await self._empty(connection, found["written"])
            return True
        finally:
            await connection.close()

    async def _empty(self, connection: Connection, written: list[str]) -> None:
        deletes = [f"DELETE FROM {table}" for table in written]
        unnoticed = "SET LOCAL session_replication_role = replica"  # no trigger has a say in this
        await connection.execute(";".join(["BEGIN", unnoticed, *deletes, *self.seeds, _SEQUENCES, "COMMIT"]))
