"""Tables of metering. The data plane writes them through SQL functions alone (migrations/sql, 0024 and 0026)."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import (
    AttemptId,
    CallId,
    EndpointId,
    KeyId,
    OrganizationId,
    PriceVersionId,
    ProjectId,
    RerateId,
)

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
_NOTHING = {"server_default": "0"}
_NEVER = {"server_default": "-infinity"}


class CounterRow(SQLModel, table=True):
    """What one scope (organization, project or key) has used and holds, in total and in each running window."""

    __tablename__ = "counters"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    scope_id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    total_used: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    total_held: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    day_start: datetime = Field(sa_type=INSTANT, sa_column_kwargs=_NEVER)
    day_used: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    day_held: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    week_start: datetime = Field(sa_type=INSTANT, sa_column_kwargs=_NEVER)
    week_used: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    week_held: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    month_start: datetime = Field(sa_type=INSTANT, sa_column_kwargs=_NEVER)
    month_used: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    month_held: Decimal = Field(sa_type=MONEY, sa_column_kwargs=_NOTHING)
    minute_start: datetime = Field(sa_type=INSTANT, sa_column_kwargs=_NEVER)
    minute_requests: int = Field(sa_type=sa.BigInteger, sa_column_kwargs=_NOTHING)
    minute_tokens: int = Field(sa_type=sa.BigInteger, sa_column_kwargs=_NOTHING)
    concurrent: int = Field(sa_type=sa.BigInteger, sa_column_kwargs=_NOTHING)
    invoice_cut: int = Field(sa_type=sa.Integer, sa_column_kwargs=_NOTHING)


class LimitAlertRow(SQLModel, table=True):
    """Of which limit of a scope was told last that its announced share is used: in which window, at what size."""

    __tablename__ = "limit_alerts"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    scope_id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    name: str = Field(primary_key=True, sa_type=sa.Text)
    starts_at: datetime = Field(sa_type=INSTANT)
    cap: Decimal = Field(sa_type=MONEY)
    alert_percent: int = Field(sa_type=sa.SmallInteger)


class HoldRow(SQLModel, table=True):
    """What one call under way may cost at most, in the windows it was admitted in."""

    __tablename__ = "holds"
    __table_args__ = (sa.Index("holds_lease", "lease_until"), sa.Index("holds_process", "process_id"))

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    call_id: CallId = Field(primary_key=True, sa_type=sa.Uuid)
    project_id: ProjectId | None = Field(default=None, sa_type=sa.Uuid)
    key_id: KeyId = Field(sa_type=sa.Uuid)
    amount: Decimal = Field(sa_type=MONEY)
    tokens: int = Field(sa_type=sa.BigInteger)
    day_start: datetime = Field(sa_type=INSTANT)
    week_start: datetime = Field(sa_type=INSTANT)
    month_start: datetime = Field(sa_type=INSTANT)
    minute_start: datetime = Field(sa_type=INSTANT)
    lease_until: datetime = Field(sa_type=INSTANT)
    process_id: UUID | None = Field(default=None, sa_type=sa.Uuid)
    checkpoint: str | None = Field(default=None, sa_type=sa.Text)


class RecoveryRow(SQLModel, table=True):
    """Which ledger this is, and when leases were last looked after: one row, locked by whoever does."""

    __tablename__ = "recovery"
    __table_args__ = (sa.CheckConstraint("one", name="recovery_is_one"),)

    one: bool = Field(default=True, primary_key=True, sa_type=sa.Boolean, sa_column_kwargs={"server_default": "true"})
    ledger_id: UUID = Field(sa_type=sa.Uuid, sa_column_kwargs={"server_default": sa.text("gen_random_uuid()")})
    swept_at: datetime = Field(sa_type=INSTANT)


class CallRow(SQLModel, table=True):
    """One call that ended. Partitioned by month of its id."""

    __tablename__ = "calls"
    __table_args__ = (
        sa.Index("calls_key", "organization_id", "key_id", "id"),
        sa.Index("calls_unpriced", "accepted_at", postgresql_where=sa.text("status = 'unpriced'")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: CallId = Field(primary_key=True, sa_type=sa.Uuid)
    project_id: ProjectId | None = Field(default=None, sa_type=sa.Uuid)
    key_id: KeyId = Field(sa_type=sa.Uuid)
    accepted_at: datetime = Field(sa_type=INSTANT)
    settled_at: datetime = Field(sa_type=INSTANT)
    requested_model: str = Field(sa_type=sa.Text)
    model: str = Field(sa_type=sa.Text)
    provider: str | None = Field(default=None, sa_type=sa.Text)
    endpoint_id: EndpointId | None = Field(default=None, sa_type=sa.Uuid)
    api: str = Field(sa_type=sa.Text)
    streamed: bool = Field(sa_type=sa.Boolean)
    status: str = Field(sa_type=sa.Text)
    estimated: bool = Field(sa_type=sa.Boolean)
    anomalous: bool = Field(sa_type=sa.Boolean)
    finish_reason: str | None = Field(default=None, sa_type=sa.Text)
    native_finish_reason: str | None = Field(default=None, sa_type=sa.Text)
    latency_ms: int | None = Field(default=None, sa_type=sa.Integer)
    generation_ms: int | None = Field(default=None, sa_type=sa.Integer)
    quantities: dict[str, int] = Field(sa_type=JSONB)
    price_version_id: PriceVersionId | None = Field(default=None, sa_type=sa.Uuid)
    tier: int = Field(sa_type=sa.BigInteger)
    currency: str = Field(sa_type=sa.Text)
    origin_amount: Decimal = Field(sa_type=MONEY)
    amount: Decimal = Field(sa_type=MONEY)
    credits_amount: Decimal = Field(sa_type=MONEY)
    overrun_amount: Decimal = Field(sa_type=MONEY)
    provider_cost: Decimal | None = Field(default=None, sa_type=MONEY)
    user_id: str | None = Field(default=None, sa_type=sa.Text)
    session_id: str | None = Field(default=None, sa_type=sa.Text)
    # SQLModel keeps the name `metadata` for itself.
    caller_metadata: dict[str, str] | None = Field(default=None, sa_type=JSONB, sa_column_kwargs={"name": "metadata"})
    invoice_cut: int = Field(sa_type=sa.Integer)
    estimate: dict[str, int] | None = Field(default=None, sa_type=JSONB)


class AttemptRow(SQLModel, table=True):
    """One try at one endpoint. Partitioned by month of its id."""

    __tablename__ = "attempts"
    __table_args__ = (
        sa.Index("attempts_call", "organization_id", "call_id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: AttemptId = Field(primary_key=True, sa_type=sa.Uuid)
    call_id: CallId = Field(sa_type=sa.Uuid)
    ordinal: int = Field(sa_type=sa.SmallInteger)
    endpoint_id: EndpointId = Field(sa_type=sa.Uuid)
    provider: str = Field(sa_type=sa.Text)
    status: str = Field(sa_type=sa.Text)
    http_status: int | None = Field(default=None, sa_type=sa.SmallInteger)
    error: str | None = Field(default=None, sa_type=sa.Text)
    latency_ms: int | None = Field(default=None, sa_type=sa.Integer)
    provider_cost: Decimal | None = Field(default=None, sa_type=MONEY)
    upstream_id: str | None = Field(default=None, sa_type=sa.Text)
    usage: dict[str, Any] | None = Field(default=None, sa_type=JSONB)


class RollupRow(SQLModel, table=True):
    """The sum of the calls of a quarter-hour that share who, what and price, kind by kind."""

    __tablename__ = "rollups"
    __table_args__ = (
        sa.Index("rollups_cut", "organization_id", "invoice_cut", "bucket"),
        sa.Index("rollups_model", "model", "bucket"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    bucket: datetime = Field(primary_key=True, sa_type=INSTANT)
    invoice_cut: int = Field(primary_key=True, sa_type=sa.Integer)
    project_id: ProjectId = Field(primary_key=True, sa_type=sa.Uuid)
    key_id: KeyId = Field(primary_key=True, sa_type=sa.Uuid)
    model: str = Field(primary_key=True, sa_type=sa.Text)
    provider: str = Field(primary_key=True, sa_type=sa.Text)
    price_version_id: PriceVersionId = Field(primary_key=True, sa_type=sa.Uuid)
    tier: int = Field(primary_key=True, sa_type=sa.BigInteger)
    kind: str = Field(primary_key=True, sa_type=sa.Text)
    unit: str | None = Field(default=None, sa_type=sa.Text)
    unit_price: Decimal | None = Field(default=None, sa_type=MONEY)
    calls: int = Field(sa_type=sa.BigInteger)
    quantity: Decimal = Field(sa_type=sa.Numeric(38, 0))
    origin_amount: Decimal = Field(sa_type=MONEY)
    amount: Decimal = Field(sa_type=MONEY)
    credits_amount: Decimal = Field(sa_type=MONEY)


class UsageFoldRow(SQLModel, table=True):
    """Up to which cut an organization's rollups are in its sums; locked by whoever folds."""

    __tablename__ = "usage_folds"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    cut: int = Field(sa_type=sa.Integer)


class UsageStretchRow(SQLModel, table=True):
    """A day or a month of an organization's calendar that there are sums of."""

    __tablename__ = "usage_stretches"

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    starts_at: datetime = Field(primary_key=True, sa_type=INSTANT)
    ends_at: datetime = Field(primary_key=True, sa_type=INSTANT)


_SUMS_KEY = (
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column("starts_at", INSTANT, nullable=False),
    sa.Column("ends_at", INSTANT, nullable=False),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("key_id", sa.Uuid, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("price_version_id", sa.Uuid, nullable=False),
    sa.Column("tier", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("unit", sa.Text),
    sa.Column("unit_price", MONEY),
)
SUMS = sa.Table(
    "usage_sums",
    SQLModel.metadata,
    *_SUMS_KEY,
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.Numeric(38, 0), nullable=False),
    sa.Column("origin_amount", MONEY, nullable=False),
    sa.Column("amount", MONEY, nullable=False),
    sa.Column("credits_amount", MONEY, nullable=False),
    sa.Index("usage_sums_key", *_SUMS_KEY, unique=True, postgresql_nulls_not_distinct=True),
)
"""Rollups of a stretch, added up; two that differ in any part of the key, unit or price are not one."""


class RepricedUsageRow(SQLModel, table=True):
    """Usage that has got another price since: what a version charged in a stretch of time, recorded up to a cut.

    Whatever of it had no price has one now. Rows are only added.
    """

    __tablename__ = "repriced_usage"
    __table_args__ = (sa.CheckConstraint("since < until", name="repriced_usage_window"),)

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    price_version_id: PriceVersionId = Field(primary_key=True, sa_type=sa.Uuid)
    rerate_id: RerateId = Field(primary_key=True, sa_type=sa.Uuid)
    since: datetime = Field(sa_type=INSTANT)
    until: datetime = Field(sa_type=INSTANT)
    cut: int = Field(sa_type=sa.Integer)
