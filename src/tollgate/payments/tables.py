"""Tables of payments at Stripe."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import GrantId, KeyId, OrganizationId, TopUpId

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


class StripeCustomerRow(SQLModel, table=True):
    """One customer at Stripe that an organization is, or was before it was deleted there."""

    __tablename__ = "stripe_customers"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="stripe_customers_organization"),
        sa.Index(
            "stripe_customers_id", "customer_id", unique=True, postgresql_where=sa.text("customer_id IS NOT NULL")
        ),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    generation: int = Field(primary_key=True, sa_type=sa.Integer)
    customer_id: str | None = Field(default=None, sa_type=sa.Text)
    created_at: datetime = Field(sa_type=INSTANT)


class TopUpRow(SQLModel, table=True):
    """One top-up, from being asked for to its end."""

    __tablename__ = "top_ups"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="top_ups_organization"),
        sa.CheckConstraint("amount > 0 AND tax >= 0", name="top_ups_amounts"),
        sa.CheckConstraint(
            "status IN ('opening', 'open', 'processing', 'paid', 'expired', 'failed', 'parked')", name="top_ups_status"
        ),
        sa.CheckConstraint("(status = 'paid') = (grant_id IS NOT NULL)", name="top_ups_credit"),
        sa.CheckConstraint("(status IN ('failed', 'parked')) = (reason IS NOT NULL)", name="top_ups_reason"),
        sa.CheckConstraint("(status IN ('paid', 'expired', 'failed')) = (closed_at IS NOT NULL)", name="top_ups_end"),
        sa.CheckConstraint("(once_key IS NULL) = (once_request IS NULL)", name="top_ups_once"),
        sa.Index("top_ups_session", "session_id", unique=True, postgresql_where=sa.text("session_id IS NOT NULL")),
        sa.Index(
            "top_ups_asked_once",
            "organization_id",
            "once_key",
            unique=True,
            postgresql_where=sa.text("once_key IS NOT NULL"),
        ),
        sa.Index("top_ups_due", "next_at", postgresql_where=sa.text("next_at IS NOT NULL")),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: TopUpId = Field(primary_key=True, sa_type=sa.Uuid)
    amount: Decimal = Field(sa_type=MONEY)
    tax: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    status: str = Field(sa_type=sa.Text)
    reason: str | None = Field(default=None, sa_type=sa.Text)
    success_url: str = Field(sa_type=sa.Text)
    cancel_url: str = Field(sa_type=sa.Text)
    customer_id: str | None = Field(default=None, sa_type=sa.Text)
    attempt: int = Field(sa_type=sa.Integer)
    session_id: str | None = Field(default=None, sa_type=sa.Text)
    url: str | None = Field(default=None, sa_type=sa.Text)
    payment_intent_id: str | None = Field(default=None, sa_type=sa.Text)
    grant_id: GrantId | None = Field(default=None, sa_type=sa.Uuid)
    once_key: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    once_request: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    tries: int = Field(sa_type=sa.Integer)
    next_at: datetime | None = Field(default=None, sa_type=INSTANT)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    expires_at: datetime = Field(sa_type=INSTANT)
    closed_at: datetime | None = Field(default=None, sa_type=INSTANT)


class StripeEventRow(SQLModel, table=True):
    """One event of Stripe's, once: the inbox. What it is about is at Stripe."""

    __tablename__ = "stripe_events"
    __table_args__ = (
        sa.Index("stripe_events_due", "next_at", postgresql_where=sa.text("processed_at IS NULL")),
        sa.Index("stripe_events_received", "received_at"),
    )

    id: str = Field(primary_key=True, sa_type=sa.Text)
    type: str = Field(sa_type=sa.Text)
    object_id: str = Field(sa_type=sa.Text)
    is_live: bool = Field(sa_type=sa.Boolean)
    created_at: datetime = Field(sa_type=INSTANT)
    received_at: datetime = Field(sa_type=INSTANT)
    processed_at: datetime | None = Field(default=None, sa_type=INSTANT)
    attempts: int = Field(sa_type=sa.Integer)
    next_at: datetime = Field(sa_type=INSTANT)
    error: str | None = Field(default=None, sa_type=sa.Text)
