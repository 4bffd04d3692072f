"""The outbox: written by whoever makes something happen, read back by those it happened to."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import EventId, OrganizationId, WebhookId
from tollgate.webhooks.model import Event, EventType, ToldEvent
from tollgate.webhooks.tables import EventRow

_EMIT = sa.text("SELECT emit_event(:organization_id, :id, :type, :data, :occurred_at)").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")),
    sa.bindparam("type", type_=sa.Text),
    sa.bindparam("data", type_=JSONB),
    sa.bindparam("occurred_at", type_=sa.DateTime(timezone=True)),
)

_ADD_FOR_ONE = sa.text("""
    WITH told AS (
        INSERT INTO events (organization_id, id, type, data, occurred_at)
        VALUES (:organization_id, :id, :type, :data, :occurred_at)
        RETURNING organization_id, id, recorded_at
    )
    INSERT INTO webhook_deliveries (organization_id, event_id, webhook_id, id, state, attempts, first_at, next_at)
    SELECT organization_id, id, :webhook_id, derived_id(id, 'delivery:' || CAST(:webhook_id AS text)), 'pending', 0,
           recorded_at, recorded_at
    FROM told
    RETURNING id
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id", "webhook_id")),
    sa.bindparam("type", type_=sa.Text),
    sa.bindparam("data", type_=JSONB),
    sa.bindparam("occurred_at", type_=sa.DateTime(timezone=True)),
)

_DROP = sa.text("""
    DELETE FROM events AS gone
    USING (SELECT e.organization_id, e.id FROM events AS e
           WHERE e.recorded_at < :before
             AND NOT EXISTS (SELECT FROM webhook_deliveries AS d
                             WHERE d.organization_id = e.organization_id AND d.event_id = e.id AND d.state = 'pending')
           ORDER BY e.recorded_at LIMIT :most FOR UPDATE SKIP LOCKED) AS old
    WHERE gone.organization_id = old.organization_id AND gone.id = old.id
""")


async def add_event(session: WriteSession, event: Event) -> None:
    """Write the event down, and a delivery for each endpoint that wants it, unless it is there already."""
    await session.execute(_EMIT, {name: getattr(event, name) for name in Event.__slots__})


async def add_event_for(session: WriteSession, event: Event, webhook_id: WebhookId) -> UUID:
    """Write an event down that one endpoint alone is to be told of; answers the delivery's id."""
    given = {name: getattr(event, name) for name in Event.__slots__}
    made = await session.execute(_ADD_FOR_ONE, {**given, "webhook_id": webhook_id})
    return UUID(str(made.scalar_one()))


async def events(
    session: ReadSession,
    *,
    organization_id: OrganizationId,
    types: Sequence[EventType],
    before: UUID | None,
    count: int,
) -> list[ToldEvent]:
    """The organization's events told before that one, latest first; of any type if none is named."""
    found = sa.select(EventRow).where(col(EventRow.organization_id) == organization_id)
    if types:
        found = found.where(col(EventRow.type).in_(types))
    if before is not None:
        place = (
            sa.select(col(EventRow.recorded_at))
            .where(col(EventRow.organization_id) == organization_id, col(EventRow.id) == before)
            .scalar_subquery()
        )
        found = found.where(sa.tuple_(col(EventRow.recorded_at), col(EventRow.id)) < sa.tuple_(place, before))
    latest = found.order_by(col(EventRow.recorded_at).desc(), col(EventRow.id).desc()).limit(count)
    return [
        ToldEvent(
            Event(row.organization_id, EventId(row.id), EventType(row.type), row.data, row.occurred_at),
            row.recorded_at,
        )
        for row in (await session.execute(latest)).scalars()
    ]


async def drop_events(session: WriteSession, *, before: datetime, most: int) -> int:
    """Forget events told before that, with their deliveries; not those that are still being sent. Answers how many."""
    dropped = await session.execute(_DROP.bindparams(before=before, most=most))
    return int(dropped.rowcount)  # type: ignore[attr-defined]  # results of DELETE have it
