"""How PostgreSQL goes about what the code asks it: the statements it was sent, explained with indexes preferred."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

Statement = tuple[str, tuple[Any, ...]]


@contextmanager
def statements_of(table: str) -> Iterator[list[Statement]]:
    """Collects what is sent meanwhile to read the table, with its parameters."""
    sent: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: tuple[Any, ...], *_: Any) -> None:
        if f"FROM {table}" in statement:
            sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def plan_of(pool: "asyncpg.Pool[asyncpg.Record]", statement: Statement) -> str:
    """The plan, as it would be if the tables were too large to be read as a whole."""
    text, parameters = statement
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {text}", *parameters)
    return "\n".join(row[0] for row in rows)
