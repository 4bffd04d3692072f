"""All SQL of health: the open circuits, read and written by every gateway process."""

from collections.abc import Mapping
from datetime import datetime

import asyncpg
import sqlalchemy as sa

from tollgate.health.model import Circuit, Fault, Trouble
from tollgate.infra.database import ReadSession
from tollgate.kit.ids import EndpointId

_OPEN = "SELECT endpoint_id, fault, opened_at, until, openings, is_told FROM endpoint_circuits"

# Of two processes that say something else of one endpoint, the one that saw it later is right. An endpoint that is not
# in the catalogue any more has no health.
_OPENED = """
    INSERT INTO endpoint_circuits AS c (endpoint_id, fault, opened_at, until, openings, is_told)
    SELECT $1, $2, $3, $4, $5, $6 FROM endpoints WHERE id = $1
    ON CONFLICT (endpoint_id) DO UPDATE
        SET fault = excluded.fault, opened_at = excluded.opened_at, until = excluded.until,
            openings = excluded.openings, is_told = excluded.is_told
        WHERE c.opened_at <= excluded.opened_at
"""
_CLOSED = "DELETE FROM endpoint_circuits WHERE endpoint_id = $1 AND opened_at <= $2"

_TROUBLES = sa.text("""
    SELECT c.*, e.model, e.provider
    FROM endpoint_circuits AS c JOIN endpoints AS e ON e.id = c.endpoint_id
    ORDER BY c.opened_at, c.endpoint_id
""")


async def troubles(session: ReadSession) -> list[Trouble]:
    """Every open circuit with the names of its endpoint, the oldest first."""
    return [
        Trouble(
            EndpointId(row.endpoint_id),
            row.model,
            row.provider,
            Circuit(Fault(row.fault), row.opened_at, row.until, row.openings, is_told=row.is_told),
        )
        for row in await session.execute(_TROUBLES)
    ]


async def open_circuits(pool: "asyncpg.Pool[asyncpg.Record]") -> dict[EndpointId, Circuit]:
    """Every open circuit."""
    return {
        EndpointId(row["endpoint_id"]): Circuit(
            Fault(row["fault"]), row["opened_at"], row["until"], row["openings"], is_told=row["is_told"]
        )
        for row in await pool.fetch(_OPEN)
    }


async def save(
    pool: "asyncpg.Pool[asyncpg.Record]",
    *,
    opened: Mapping[EndpointId, Circuit],
    closed: Mapping[EndpointId, datetime],
) -> None:
    """Write down the circuits that opened or changed, and take out those that closed, each as of when it did."""
    async with pool.acquire() as connection, connection.transaction():
        if opened:
            rows = [
                (endpoint_id, each.fault, each.opened_at, each.until, each.openings, each.is_told)
                for endpoint_id, each in sorted(opened.items())
            ]
            await connection.executemany(_OPENED, rows)
        if closed:
            await connection.executemany(_CLOSED, sorted(closed.items()))
