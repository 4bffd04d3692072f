"""Tables of webhooks."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import EventId, OrganizationId

INSTANT = sa.DateTime(timezone=True)


class EventRow(SQLModel, table=True):
    """One event: the outbox. Rows are only added, and dropped when nobody can ask for them any more."""

    __tablename__ = "events"
    __table_args__ = (sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="events_organization"),)

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: EventId = Field(primary_key=True, sa_type=sa.Uuid)
    type: str = Field(sa_type=sa.Text)
    data: dict[str, Any] = Field(sa_type=JSONB)
    occurred_at: datetime = Field(sa_type=INSTANT)
