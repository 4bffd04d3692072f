"""All SQL of the gateway: where sessions were served."""

from collections.abc import Mapping
from datetime import datetime

import asyncpg
import sqlalchemy as sa

from tollgate.gateway.model import Session
from tollgate.infra.database import WriteSession
from tollgate.kit.ids import EndpointId

_PLACE = """
    SELECT endpoint_id FROM session_places WHERE organization_id = $1 AND session = $2 AND served_at > $3
"""
# In order of the key: two processes that write the same sessions must not wait for each other in a circle.
_KEEP = """
    INSERT INTO session_places AS p (organization_id, session, endpoint_id, served_at)
    SELECT s.*, $4 FROM unnest($1::uuid[], $2::bytea[], $3::uuid[]) AS s (organization_id, session, endpoint_id)
    ORDER BY 1, 2
    ON CONFLICT (organization_id, session) DO UPDATE
        SET endpoint_id = excluded.endpoint_id, served_at = excluded.served_at
        WHERE p.served_at <= excluded.served_at
"""


async def session_place(
    pool: "asyncpg.Pool[asyncpg.Record]", session: Session, *, since: datetime
) -> EndpointId | None:
    """Where the session was served last, if that was after `since`."""
    found = await pool.fetchval(_PLACE, *session, since)
    return None if found is None else EndpointId(found)


async def keep_session_places(
    pool: "asyncpg.Pool[asyncpg.Record]", places: Mapping[Session, EndpointId], *, now: datetime
) -> None:
    """Write down where sessions have just been served."""
    owners, digests = [owner for owner, _ in places], [digest for _, digest in places]
    await pool.execute(_KEEP, owners, digests, list(places.values()), now)


async def forget_session_places(session: WriteSession, *, before: datetime) -> None:
    """Forget the sessions that were served last before then."""
    await session.execute(sa.text("DELETE FROM session_places WHERE served_at < :before"), {"before": before})
