"""Tables of price versions, items and adjustments. The database refuses overlap, and changes to what is published."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import EndpointId, KeyId, OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import Source, Unit


class PriceVersionRow(SQLModel, table=True):
    """One published version. Only its end may change, and whether it was withdrawn before it began (0012)."""

    __tablename__ = "price_versions"
    __table_args__ = (
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name="price_versions_endpoint"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="price_versions_organization"),
        sa.CheckConstraint("effective_from < effective_to", name="price_versions_period"),
        sa.CheckConstraint("source IN ('operator', 'seed', 'import')", name="price_versions_source"),
        sa.CheckConstraint(
            "ended_at IS NULL OR (organization_id IS NOT NULL AND effective_to IS NOT NULL)",
            name="price_versions_ended",
        ),
        ExcludeConstraint(
            (sa.text("endpoint_id"), "="),
            (sa.text("COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid)"), "="),
            (sa.text("service_tier"), "="),
            (sa.text("tstzrange(effective_from, effective_to)"), "&&"),
            using="gist",
            where=sa.text("withdrawn_at IS NULL"),
            name="price_versions_no_overlap",
        ),
    )

    id: PriceVersionId = Field(primary_key=True, sa_type=sa.Uuid)
    endpoint_id: EndpointId = Field(sa_type=sa.Uuid)
    organization_id: OrganizationId | None = Field(sa_type=sa.Uuid)
    service_tier: str = Field(sa_type=sa.Text)
    effective_from: datetime = Field(sa_type=sa.DateTime(timezone=True))
    effective_to: datetime | None = Field(sa_type=sa.DateTime(timezone=True))
    item_count: int = Field(sa_type=sa.SmallInteger)
    source: Source = Field(sa_type=sa.Text)
    published_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    published_by: KeyId | None = Field(sa_type=sa.Uuid)
    withdrawn_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    ended_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    """When its end was set by hand; nothing where that is only where the next one begins."""


class PriceItemRow(SQLModel, table=True):
    """One price of a version."""

    __tablename__ = "price_items"
    __table_args__ = (
        sa.ForeignKeyConstraint(["price_version_id"], ["price_versions.id"], name="price_items_version"),
        sa.CheckConstraint("unit_price >= 0", name="price_items_unit_price"),
        sa.CheckConstraint("unit IN ('per_million_tokens', 'per_count', 'per_second')", name="price_items_unit"),
        sa.CheckConstraint(
            "prompt_tokens_from >= 0 AND prompt_tokens_from < prompt_tokens_below", name="price_items_tier"
        ),
    )

    price_version_id: PriceVersionId = Field(primary_key=True, sa_type=sa.Uuid)
    position: int = Field(primary_key=True, sa_type=sa.SmallInteger)
    kind: Kind = Field(sa_type=sa.Text)
    unit_price: Decimal = Field(sa_type=sa.Numeric(38, 12))
    unit: Unit = Field(sa_type=sa.Text)
    prompt_tokens_from: int = Field(sa_type=sa.BigInteger)
    prompt_tokens_below: int | None = Field(sa_type=sa.BigInteger)


class PriceAdjustmentRow(SQLModel, table=True):
    """One published adjustment. Only its end may change, and whether it was withdrawn before it began (0013)."""

    __tablename__ = "price_adjustments"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="price_adjustments_organization"),
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="price_adjustments_model"),
        sa.ForeignKeyConstraint(["provider"], ["providers.slug"], name="price_adjustments_provider"),
        sa.CheckConstraint("effective_from < effective_to", name="price_adjustments_period"),
        sa.CheckConstraint("percent BETWEEN -100 AND 1000", name="price_adjustments_percent"),
        sa.CheckConstraint("ended_at IS NULL OR effective_to IS NOT NULL", name="price_adjustments_ended"),
        ExcludeConstraint(
            (sa.text("COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid)"), "="),
            (sa.text("COALESCE(model, '')"), "="),
            (sa.text("COALESCE(provider, '')"), "="),
            (sa.text("tstzrange(effective_from, effective_to)"), "&&"),
            using="gist",
            where=sa.text("withdrawn_at IS NULL"),
            name="price_adjustments_no_overlap",
        ),
    )

    id: PriceAdjustmentId = Field(primary_key=True, sa_type=sa.Uuid)
    organization_id: OrganizationId | None = Field(sa_type=sa.Uuid)
    model: str | None = Field(sa_type=sa.Text)
    provider: str | None = Field(sa_type=sa.Text)
    percent: Decimal = Field(sa_type=sa.Numeric(8, 4))
    effective_from: datetime = Field(sa_type=sa.DateTime(timezone=True))
    effective_to: datetime | None = Field(sa_type=sa.DateTime(timezone=True))
    published_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    published_by: KeyId | None = Field(sa_type=sa.Uuid)
    withdrawn_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    ended_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    """When its end was set by hand; nothing where that is only where the next one begins."""
