"""Tables of organizations, projects and limits."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.accounts.model import BillingMode, OrganizationStatus
from tollgate.kit.ids import OrganizationId, ProjectId

POLICY: Any = JSONB(none_as_null=True)
"""A `RoutingPolicy`, null where there is none."""


class OrganizationRow(SQLModel, table=True):
    """One organization. A trigger announces a change of status or policy, which concern all of its keys."""

    __tablename__ = "organizations"
    __table_args__ = (
        sa.CheckConstraint("billing_mode IN ('prepaid', 'postpaid')", name="organizations_billing_mode"),
        sa.CheckConstraint("status IN ('active', 'suspended', 'closed')", name="organizations_status"),
        sa.CheckConstraint("credit_limit >= 0", name="organizations_credit_limit"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="organizations_currency"),
        sa.CheckConstraint("jsonb_typeof(routing) = 'object'", name="organizations_routing"),
    )

    id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    name: str = Field(sa_type=sa.Text)
    billing_mode: BillingMode = Field(sa_type=sa.Text)
    credit_limit: Decimal | None = Field(sa_type=sa.Numeric(38, 12))
    timezone: str = Field(sa_type=sa.Text)
    currency: str = Field(sa_type=sa.Text)
    status: OrganizationStatus = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    routing: dict[str, Any] | None = Field(default=None, sa_type=POLICY)


class ProjectRow(SQLModel, table=True):
    """One project of an organization."""

    __tablename__ = "projects"
    __table_args__ = (sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="projects_organization"),)

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: ProjectId = Field(primary_key=True, sa_type=sa.Uuid)
    name: str = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    archived_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))


class LimitsRow(SQLModel, table=True):
    """The limits of one scope: an organization, one of its projects, or one of its keys."""

    __tablename__ = "limits"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="limits_organization"),
        sa.CheckConstraint("total >= 0 AND daily >= 0 AND weekly >= 0 AND monthly >= 0", name="limits_money"),
        sa.CheckConstraint("rpm >= 0 AND tpm >= 0 AND concurrency >= 0", name="limits_rates"),
        sa.CheckConstraint("alert_percent BETWEEN 1 AND 100", name="limits_alert_percent"),
        sa.CheckConstraint(
            "credits_alert IS NULL OR credits_alert >= 0 AND scope_id = organization_id", name="limits_credits_alert"
        ),
        *(
            sa.Index(
                f"limits_with_{column}",
                "organization_id",
                "scope_id",
                postgresql_where=sa.text(f"{column} IS NOT NULL"),
            )
            for column in ("alert_percent", "credits_alert")
        ),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    scope_id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    total: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 12))
    daily: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 12))
    weekly: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 12))
    monthly: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 12))
    rpm: int | None = Field(default=None, sa_type=sa.BigInteger)
    tpm: int | None = Field(default=None, sa_type=sa.BigInteger)
    concurrency: int | None = Field(default=None, sa_type=sa.BigInteger)
    alert_percent: int | None = Field(default=None, sa_type=sa.SmallInteger)
    credits_alert: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 12))
