"""Tables of re-rates. The database lets nothing of them change but how far they have come."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import AdjustmentId, EndpointId, KeyId, OrganizationId, RerateId
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import Unit
from tollgate.rerating.model import RerateState

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


class RerateRow(SQLModel, table=True):
    """One re-rate: its terms, which never change, and its state."""

    __tablename__ = "rerates"
    __table_args__ = (
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name="rerates_endpoint"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="rerates_organization"),
        sa.CheckConstraint("since < until", name="rerates_window"),
        sa.CheckConstraint("state IN ('measuring', 'measured', 'applying', 'applied')", name="rerates_state"),
        sa.CheckConstraint(
            "num_nonnulls(applied_number, applied_at) = CASE WHEN state IN ('applying', 'applied') THEN 2 ELSE 0 END",
            name="rerates_applied",
        ),
        sa.Index("rerates_number", "endpoint_id", "number", unique=True),
        # "Is there anything to do?" Asked every few seconds, and nearly always empty.
        sa.Index("rerates_under_way", "id", postgresql_where=sa.text("state IN ('measuring', 'applying')")),
    )

    id: RerateId = Field(primary_key=True, sa_type=sa.Uuid)
    number: int = Field(sa_type=sa.BigInteger)
    endpoint_id: EndpointId = Field(sa_type=sa.Uuid)
    model: str = Field(sa_type=sa.Text)
    provider: str = Field(sa_type=sa.Text)
    service_tier: str = Field(sa_type=sa.Text)
    organization_id: OrganizationId | None = Field(sa_type=sa.Uuid)
    since: datetime = Field(sa_type=INSTANT)
    until: datetime = Field(sa_type=INSTANT)
    reason: str = Field(sa_type=sa.Text)
    state: RerateState = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(sa_type=sa.Uuid)
    measured_at: datetime | None = Field(default=None, sa_type=INSTANT)
    applied_number: int | None = Field(default=None, sa_type=sa.BigInteger)
    applied_at: datetime | None = Field(default=None, sa_type=INSTANT)
    applied_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    finished_at: datetime | None = Field(default=None, sa_type=INSTANT)


class RerateItemRow(SQLModel, table=True):
    """One corrected price."""

    __tablename__ = "rerate_items"
    __table_args__ = (
        sa.ForeignKeyConstraint(["rerate_id"], ["rerates.id"], name="rerate_items_rerate"),
        sa.CheckConstraint("unit_price >= 0", name="rerate_items_unit_price"),
    )

    rerate_id: RerateId = Field(primary_key=True, sa_type=sa.Uuid)
    position: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    kind: Kind = Field(sa_type=sa.Text)
    unit_price: Decimal = Field(sa_type=MONEY)
    unit: Unit = Field(sa_type=sa.Text)
    prompt_tokens_from: int = Field(sa_type=sa.BigInteger)
    prompt_tokens_below: int | None = Field(sa_type=sa.BigInteger)


class RerateResultRow(SQLModel, table=True):
    """What a re-rate changes for one organization: to be measured, measured, and posted."""

    __tablename__ = "rerate_results"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="rerate_results_organization"),
        sa.ForeignKeyConstraint(["rerate_id"], ["rerates.id"], name="rerate_results_rerate"),
        sa.CheckConstraint("measured_at IS NULL OR cut IS NOT NULL", name="rerate_results_measured"),
        sa.CheckConstraint(
            "CASE WHEN posted_at IS NULL THEN adjustment_id IS NULL"
            " ELSE measured_at IS NOT NULL AND (adjustment_id IS NULL) = (new_amount = amount) END",
            name="rerate_results_posted",
        ),
        sa.Index("rerate_results_of", "rerate_id", "organization_id"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    rerate_id: RerateId = Field(primary_key=True, sa_type=sa.Uuid)
    next_at: datetime = Field(sa_type=INSTANT)
    """When somebody may take it up, again or for the first time."""
    attempts: int = Field(sa_type=sa.Integer)
    cut: int | None = Field(default=None, sa_type=sa.Integer)
    measured_at: datetime | None = Field(default=None, sa_type=INSTANT)
    calls: int = Field(sa_type=sa.BigInteger)
    calls_spared: int = Field(sa_type=sa.BigInteger)
    amount: Decimal = Field(sa_type=MONEY)
    new_amount: Decimal = Field(sa_type=MONEY)
    percents: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    unpriced: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    lacking: list[UUID] = Field(sa_type=sa.ARRAY(sa.Uuid))
    """The price versions that some of these calls had no price by."""
    posted_at: datetime | None = Field(default=None, sa_type=INSTANT)
    adjustment_id: AdjustmentId | None = Field(default=None, sa_type=sa.Uuid)


class RerateMonthRow(SQLModel, table=True):
    """The part of a result that belongs to one month of the organization's."""

    __tablename__ = "rerate_months"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "rerate_id"],
            ["rerate_results.organization_id", "rerate_results.rerate_id"],
            name="rerate_months_result",
        ),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    rerate_id: RerateId = Field(primary_key=True, sa_type=sa.Uuid)
    month: str = Field(primary_key=True, sa_type=sa.Text)
    calls: int = Field(sa_type=sa.BigInteger)
    amount: Decimal = Field(sa_type=MONEY)
    new_amount: Decimal = Field(sa_type=MONEY)
    invoice_number: str | None = Field(default=None, sa_type=sa.Text)
