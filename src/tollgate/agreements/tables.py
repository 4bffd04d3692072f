"""Tables of agreements. Details are only added, the latest hold; of an agreement nothing but its end ever changes."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlmodel import Field, SQLModel

from tollgate.agreements.model import AgreementKind
from tollgate.kit.ids import AgreementId, KeyId, OrganizationId

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


class BillingDetailsRow(SQLModel, table=True):
    """How an organization was to be addressed from a moment on: the highest revision holds."""

    __tablename__ = "billing_details"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="billing_details_organization"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    revision: int = Field(primary_key=True, sa_type=sa.Integer)
    details: dict[str, Any] = Field(sa_type=JSONB)
    changed_at: datetime = Field(sa_type=INSTANT)
    changed_by: KeyId | None = Field(sa_type=sa.Uuid)


class IssuerRow(SQLModel, table=True):
    """Who issued the installation's invoices from a moment on: the highest revision holds."""

    __tablename__ = "issuers"

    revision: int | None = Field(
        default=None, sa_column=sa.Column(sa.Integer, sa.Identity(always=True), primary_key=True)
    )
    details: dict[str, Any] = Field(sa_type=JSONB)
    changed_at: datetime = Field(sa_type=INSTANT)
    changed_by: KeyId | None = Field(sa_type=sa.Uuid)


class AgreementRow(SQLModel, table=True):
    """One subscription, commitment or discount. Only its end may change, and only to an earlier day (0016)."""

    __tablename__ = "agreements"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="agreements_organization"),
        sa.CheckConstraint("kind IN ('subscription', 'commitment', 'discount')", name="agreements_kind"),
        sa.CheckConstraint("starts_on <= ends_on", name="agreements_days"),
        sa.CheckConstraint(
            "CASE kind WHEN 'discount' THEN percent > 0 AND percent <= 100 AND amount IS NULL"
            " ELSE amount > 0 AND percent IS NULL END",
            name="agreements_terms",
        ),
        sa.CheckConstraint("(kind = 'subscription') = (name IS NOT NULL)", name="agreements_name"),
        sa.CheckConstraint("ended_at IS NULL OR ends_on IS NOT NULL", name="agreements_ended"),
        ExcludeConstraint(
            (sa.text("organization_id"), "="),
            (sa.text("kind"), "="),
            (sa.text("COALESCE(name, '')"), "="),
            (sa.text("daterange(starts_on, ends_on)"), "&&"),
            using="gist",
            name="agreements_no_overlap",
        ),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: AgreementId = Field(primary_key=True, sa_type=sa.Uuid)
    kind: AgreementKind = Field(sa_type=sa.Text)
    name: str | None = Field(sa_type=sa.Text)
    amount: Decimal | None = Field(sa_type=MONEY)
    percent: Decimal | None = Field(sa_type=sa.Numeric(7, 4))
    currency: str = Field(sa_type=sa.Text)
    starts_on: date = Field(sa_type=sa.Date)
    ends_on: date | None = Field(sa_type=sa.Date)
    created_at: datetime = Field(sa_type=INSTANT)
    created_by: KeyId | None = Field(sa_type=sa.Uuid)
    ended_at: datetime | None = Field(default=None, sa_type=INSTANT)
    ended_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
