"""Tables of webhooks."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import DeliveryId, EventId, KeyId, OrganizationId, WebhookId

INSTANT = sa.DateTime(timezone=True)


class EventRow(SQLModel, table=True):
    """One event: the outbox. Rows are only added, and dropped when nobody can ask for them any more."""

    __tablename__ = "events"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="events_organization"),
        sa.Index("events_latest", "organization_id", "recorded_at", "id"),
        sa.Index("events_age", "recorded_at"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: EventId = Field(primary_key=True, sa_type=sa.Uuid)
    type: str = Field(sa_type=sa.Text)
    data: dict[str, Any] = Field(sa_type=JSONB)
    occurred_at: datetime = Field(sa_type=INSTANT)
    recorded_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs={"server_default": sa.text("clock_timestamp()")})


class WebhookSealRow(SQLModel, table=True):
    """Which key seals secrets here: one row, from the first endpoint on."""

    __tablename__ = "webhook_seal"
    __table_args__ = (sa.CheckConstraint("one", name="webhook_seal_is_one"),)

    one: bool = Field(
        default=True, primary_key=True, sa_type=sa.Boolean, sa_column_kwargs={"server_default": sa.true()}
    )
    fingerprint: bytes = Field(sa_type=sa.LargeBinary)


class WebhookRow(SQLModel, table=True):
    """One endpoint that events are sent to. Its secrets are sealed, for this row alone."""

    __tablename__ = "webhooks"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="webhooks_organization"),
        sa.CheckConstraint("disabled_because IN ('asked', 'gone')", name="webhooks_disabled_because"),
        sa.CheckConstraint("(previous_secret IS NULL) = (previous_until IS NULL)", name="webhooks_previous"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: WebhookId = Field(primary_key=True, sa_type=sa.Uuid)
    url: str = Field(sa_type=sa.Text)
    types: list[str] | None = Field(default=None, sa_type=sa.ARRAY(sa.Text))
    description: str = Field(sa_type=sa.Text)
    disabled_because: str | None = Field(default=None, sa_type=sa.Text)
    secret: bytes = Field(sa_type=sa.LargeBinary)
    previous_secret: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    previous_until: datetime | None = Field(default=None, sa_type=INSTANT)
    failing_since: datetime | None = Field(default=None, sa_type=INSTANT)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)


class WebhookDeliveryRow(SQLModel, table=True):
    """One event on its way to one endpoint; made with the event, by `emit_event()`. There once per event and endpoint.

    The endpoint may be gone: then nothing is sent any more.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "event_id"],
            ["events.organization_id", "events.id"],
            name="webhook_deliveries_event",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("organization_id", "id", name="webhook_deliveries_id"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed', 'dropped')", name="webhook_deliveries_state"),
        sa.CheckConstraint("(state = 'pending') = (next_at IS NOT NULL)", name="webhook_deliveries_next"),
        sa.Index("webhook_deliveries_due", "next_at", postgresql_where=sa.text("state = 'pending'")),
        sa.Index(
            "webhook_deliveries_due_at",
            "organization_id",
            "webhook_id",
            "next_at",
            postgresql_where=sa.text("state = 'pending'"),
        ),
        sa.Index("webhook_deliveries_of", "organization_id", "webhook_id", "first_at", "id"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    event_id: EventId = Field(primary_key=True, sa_type=sa.Uuid)
    webhook_id: WebhookId = Field(primary_key=True, sa_type=sa.Uuid)
    id: DeliveryId = Field(sa_type=sa.Uuid)
    state: str = Field(sa_type=sa.Text)
    attempts: int = Field(sa_type=sa.Integer)
    first_at: datetime = Field(sa_type=INSTANT)
    next_at: datetime | None = Field(default=None, sa_type=INSTANT)
    tried_at: datetime | None = Field(default=None, sa_type=INSTANT)
    status: int | None = Field(default=None, sa_type=sa.SmallInteger)
    error: str | None = Field(default=None, sa_type=sa.Text)
    answer: str | None = Field(default=None, sa_type=sa.Text)
    milliseconds: int | None = Field(default=None, sa_type=sa.Integer)
