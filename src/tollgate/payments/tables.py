"""Tables of payments at Stripe."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import GrantId, InvoiceId, KeyId, OrganizationId, TopUpId
from tollgate.payments.states import CollectionMode, CollectionState, RefundStatus

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


def _of_organization(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=f"{table}_organization")


class CollectionRow(SQLModel, table=True):
    """One invoice to collect. Triggers make it when the invoice is issued, and wake it when the invoice moves."""

    __tablename__ = "collections"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="collections_invoice",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint("state IN ('open', 'done', 'parked')", name="collections_state"),
        sa.CheckConstraint("(state = 'parked') = (parked_reason IS NOT NULL)", name="collections_parked_reason"),
        sa.CheckConstraint("failures BETWEEN 0 AND attempts AND attempts <= failures + 1", name="collections_attempts"),
        sa.Index("collections_due", "next_at", postgresql_where=sa.text("state = 'open'")),
        sa.Index("collections_woken", "organization_id", "invoice_id", postgresql_where=sa.text("woken")),
        sa.Index("collections_mirror", "stripe_invoice_id", unique=True),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    invoice_id: InvoiceId = Field(primary_key=True, sa_type=sa.Uuid)
    state: CollectionState = Field(sa_type=sa.Text, sa_column_kwargs={"server_default": "open"})
    revision: int = Field(sa_type=sa.Integer, sa_column_kwargs={"server_default": "0"})
    begun_at: datetime | None = Field(sa_type=INSTANT)
    stripe_customer_id: str | None = Field(sa_type=sa.Text)
    stripe_invoice_id: str | None = Field(sa_type=sa.Text)
    amount: Decimal | None = Field(sa_type=MONEY)
    filled_at: datetime | None = Field(sa_type=INSTANT)
    attempts: int = Field(sa_type=sa.Integer, sa_column_kwargs={"server_default": "0"})
    failures: int = Field(sa_type=sa.Integer, sa_column_kwargs={"server_default": "0"})
    first_failed_at: datetime | None = Field(sa_type=INSTANT)
    last_attempt_at: datetime | None = Field(sa_type=INSTANT)
    past_due_at: datetime | None = Field(sa_type=INSTANT)
    suspended_at: datetime | None = Field(sa_type=INSTANT)
    errors: int = Field(sa_type=sa.Integer, sa_column_kwargs={"server_default": "0"})
    last_error: str | None = Field(sa_type=sa.Text)
    parked_reason: str | None = Field(sa_type=sa.Text)
    is_asked: bool = Field(sa_type=sa.Boolean, sa_column_kwargs={"server_default": "false"})
    woken: bool = Field(sa_type=sa.Boolean, sa_column_kwargs={"server_default": "true"})
    version: int = Field(sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})
    next_at: datetime = Field(sa_type=INSTANT)
    created_at: datetime = Field(sa_type=INSTANT)
    updated_at: datetime = Field(sa_type=INSTANT)


class CollectionSettingsRow(SQLModel, table=True):
    """What is set for one organization."""

    __tablename__ = "collection_settings"
    __table_args__ = (
        _of_organization("collection_settings"),
        sa.CheckConstraint("mode IN ('automatic', 'send', 'none')", name="collection_settings_mode"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    mode: CollectionMode | None = Field(sa_type=sa.Text)
    suspended_at: datetime | None = Field(sa_type=INSTANT)


class RefundRecord(SQLModel, table=True):
    """Money that goes back to a customer."""

    __tablename__ = "refunds"
    __table_args__ = (
        _of_organization("refunds"),
        sa.CheckConstraint("amount > 0", name="refunds_amount"),
        sa.CheckConstraint("status IN ('requested', 'sent', 'succeeded', 'failed')", name="refunds_status"),
        sa.CheckConstraint("num_nonnulls(invoice_id, top_up_id) = 1", name="refunds_of_one"),
        sa.Index("refunds_at_stripe", "stripe_refund_id", unique=True),
        sa.Index("refunds_due", "next_at", postgresql_where=sa.text("next_at IS NOT NULL")),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    payment_intent_id: str = Field(sa_type=sa.Text)
    invoice_id: InvoiceId | None = Field(sa_type=sa.Uuid)
    top_up_id: TopUpId | None = Field(sa_type=sa.Uuid)
    amount: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    status: RefundStatus = Field(sa_type=sa.Text)
    is_ours: bool = Field(sa_type=sa.Boolean)
    stripe_refund_id: str | None = Field(sa_type=sa.Text)
    reason: str | None = Field(sa_type=sa.Text)
    from_credit: Decimal = Field(sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    last_error: str | None = Field(sa_type=sa.Text)
    attempts: int = Field(sa_type=sa.Integer, sa_column_kwargs={"server_default": "0"})
    next_at: datetime | None = Field(sa_type=INSTANT)
    requested_by: KeyId | None = Field(sa_type=sa.Uuid)
    created_at: datetime = Field(sa_type=INSTANT)
    updated_at: datetime = Field(sa_type=INSTANT)


class DisputeRecord(SQLModel, table=True):
    """A payment that a customer's bank takes back."""

    __tablename__ = "disputes"
    __table_args__ = (
        _of_organization("disputes"),
        sa.CheckConstraint("num_nonnulls(invoice_id, top_up_id) = 1", name="disputes_of_one"),
        sa.Index("disputes_at_stripe", "stripe_dispute_id", unique=True),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    stripe_dispute_id: str = Field(sa_type=sa.Text)
    payment_intent_id: str = Field(sa_type=sa.Text)
    invoice_id: InvoiceId | None = Field(sa_type=sa.Uuid)
    top_up_id: TopUpId | None = Field(sa_type=sa.Uuid)
    amount: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    status: str = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    withdrawn: Decimal = Field(sa_type=MONEY)
    returned: Decimal = Field(sa_type=MONEY)
    from_credit: Decimal = Field(sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = Field(sa_type=INSTANT)
    updated_at: datetime = Field(sa_type=INSTANT)


class MovementRow(SQLModel, table=True):
    """One movement of our balance at Stripe. Rows are only added."""

    __tablename__ = "stripe_movements"
    __table_args__ = (
        _of_organization("stripe_movements"),
        sa.Index("stripe_movements_id", "id", unique=True),
        sa.Index("stripe_movements_of", "payment_intent_id"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: str = Field(primary_key=True, sa_type=sa.Text)
    type: str = Field(sa_type=sa.Text)
    source_id: str | None = Field(sa_type=sa.Text)
    payment_intent_id: str = Field(sa_type=sa.Text)
    currency: str = Field(sa_type=sa.Text)
    amount: Decimal = Field(sa_type=MONEY)
    fee: Decimal = Field(sa_type=MONEY)
    source_currency: str = Field(sa_type=sa.Text)
    source_amount: Decimal = Field(sa_type=MONEY)
    created_at: datetime = Field(sa_type=INSTANT)
    recorded_at: datetime = Field(sa_type=INSTANT)


class PayoutShareRow(SQLModel, table=True):
    """An organization's part of a payout. Rows are only added."""

    __tablename__ = "stripe_payout_shares"
    __table_args__ = (
        _of_organization("stripe_payout_shares"),
        sa.Index("stripe_payout_shares_payout", "payout_id"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    payout_id: str = Field(primary_key=True, sa_type=sa.Text)
    currency: str = Field(primary_key=True, sa_type=sa.Text)
    is_return: bool = Field(primary_key=True, sa_type=sa.Boolean)
    amount: Decimal = Field(sa_type=MONEY)
    recorded_at: datetime = Field(sa_type=INSTANT)


class ReconciliationRow(SQLModel, table=True):
    """What came of one comparison of our books with Stripe's. Rows are only added."""

    __tablename__ = "reconciliations"

    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    began_at: datetime = Field(sa_type=INSTANT)
    finished_at: datetime = Field(sa_type=INSTANT)
    since: datetime = Field(sa_type=INSTANT)
    compared: dict[str, int] = Field(sa_type=JSONB)
    repaired: int = Field(sa_type=sa.Integer)
    differences: list[dict[str, Any]] = Field(sa_type=JSONB)
