"""Tables of the ledger. The data plane's SQL functions write them too (migrations/sql, 0003 and 0008)."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import AdjustmentId, GrantId, KeyId, OrganizationId
from tollgate.ledger.model import GrantCategory

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


class TransferRow(SQLModel, table=True):
    """One transfer; the database refuses to change or delete it."""

    __tablename__ = "transfers"
    __table_args__ = (
        sa.Index("transfers_cause", "organization_id", "cause_id"),
        sa.Index("transfers_posted", "organization_id", "posted_at", "id"),
        sa.CheckConstraint("amount > 0", name="transfers_amount_is_positive"),
        sa.CheckConstraint("debit_account <> credit_account", name="transfers_accounts_differ"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    debit_account: str = Field(sa_type=sa.Text)
    credit_account: str = Field(sa_type=sa.Text)
    amount: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    cause: str = Field(sa_type=sa.Text)
    cause_id: UUID = Field(sa_type=sa.Uuid)
    reverses_id: UUID | None = Field(default=None, sa_type=sa.Uuid)
    occurred_at: datetime = Field(sa_type=INSTANT)
    posted_at: datetime = Field(sa_type=INSTANT)


class LedgerAccountRow(SQLModel, table=True):
    """The cached balance of one account: always the fold of its transfers."""

    __tablename__ = "ledger_accounts"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    account: str = Field(primary_key=True, sa_type=sa.Text)
    currency: str = Field(primary_key=True, sa_type=sa.Text)
    debits: Decimal = Field(sa_type=MONEY)
    credits: Decimal = Field(sa_type=MONEY)


class GrantRow(SQLModel, table=True):
    """One grant and what is left of it."""

    __tablename__ = "grants"
    __table_args__ = (
        sa.CheckConstraint("amount > 0", name="grants_amount_is_positive"),
        sa.CheckConstraint("remaining BETWEEN 0 AND amount", name="grants_remaining_is_within"),
        sa.CheckConstraint("category IN ('paid', 'promotional')", name="grants_category_is_known"),
        sa.CheckConstraint("(voided_at IS NULL) = (void_reason IS NULL)", name="grants_void_is_explained"),
        sa.CheckConstraint("unused BETWEEN 0 AND amount - remaining", name="grants_unused_is_within"),
        sa.CheckConstraint("closed_at IS NULL OR remaining = 0", name="grants_closed_is_empty"),
        sa.Index(
            "grants_reference",
            "organization_id",
            "reference",
            unique=True,
            postgresql_where=sa.text("reference IS NOT NULL"),
        ),
        sa.Index("grants_open_end", "ends_at", postgresql_where=sa.text("closed_at IS NULL AND ends_at IS NOT NULL")),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: GrantId = Field(primary_key=True, sa_type=sa.Uuid)
    category: GrantCategory = Field(sa_type=sa.Text)
    priority: int = Field(sa_type=sa.Integer)
    amount: Decimal = Field(sa_type=MONEY)
    remaining: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    expires_at: datetime | None = Field(default=None, sa_type=INSTANT)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    reference: str | None = Field(default=None, sa_type=sa.Text)
    voided_at: datetime | None = Field(default=None, sa_type=INSTANT)
    voided_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    void_reason: str | None = Field(default=None, sa_type=sa.Text)
    closed_at: datetime | None = Field(default=None, sa_type=INSTANT)
    unused: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    ends_at: datetime | None = Field(
        default=None, sa_column=sa.Column(INSTANT, sa.Computed("LEAST(expires_at, voided_at)", persisted=True))
    )


class CreditAlertRow(SQLModel, table=True):
    """Whether an organization was told that its credits run low, and they still are; triggers write it."""

    __tablename__ = "credit_alerts"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    low: bool = Field(sa_type=sa.Boolean)
    times: int = Field(sa_type=sa.BigInteger)


class AdjustmentRow(SQLModel, table=True):
    """One adjustment by the operator; the database refuses to change or delete it."""

    __tablename__ = "adjustments"
    __table_args__ = (
        sa.CheckConstraint("amount <> 0", name="adjustments_amount_is_not_zero"),
        sa.CheckConstraint("credits_amount BETWEEN 0 AND greatest(-amount, 0)", name="adjustments_credits_are_within"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: AdjustmentId = Field(primary_key=True, sa_type=sa.Uuid)
    amount: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    credits_amount: Decimal = Field(sa_type=MONEY)
    invoice_cut: int = Field(sa_type=sa.Integer)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
