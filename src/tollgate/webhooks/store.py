"""All SQL of webhooks, but for `emit_event()`, which functions of the database call too (migrations/sql)."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tollgate.infra.database import WriteSession
from tollgate.webhooks.model import Event

_EMIT = sa.text("SELECT emit_event(:organization_id, :id, :type, :data, :occurred_at)").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")),
    sa.bindparam("type", type_=sa.Text),
    sa.bindparam("data", type_=JSONB),
    sa.bindparam("occurred_at", type_=sa.DateTime(timezone=True)),
)


async def add_event(session: WriteSession, event: Event) -> None:
    """Write the event down, unless it is there already."""
    await session.execute(_EMIT, {name: getattr(event, name) for name in Event.__slots__})
