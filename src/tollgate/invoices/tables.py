"""Tables of invoices. Once an invoice is there, the database lets nothing of it change but its status and its times."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.accounts.model import BillingMode
from tollgate.agreements.model import TaxTreatment
from tollgate.invoices.acts import ActKind, Surplus
from tollgate.invoices.model import InvoiceKind, InvoiceStatus, LineType, PaymentKind, PaymentMethod
from tollgate.kit.ids import (
    AdjustmentId,
    AgreementId,
    CreditNoteId,
    InvoiceId,
    KeyId,
    OrganizationId,
    PaymentId,
    PriceVersionId,
    ProjectId,
)

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


class InvoiceRow(SQLModel, table=True):
    """One issued invoice; drafts are computed and have no row."""

    __tablename__ = "invoices"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="invoices_organization"),
        sa.CheckConstraint("kind IN ('usage')", name="invoices_kind"),
        sa.CheckConstraint("status IN ('finalised', 'paid', 'void', 'uncollectible')", name="invoices_status"),
        sa.CheckConstraint("period_start < period_end", name="invoices_period"),
        sa.CheckConstraint(
            "total_exact = subtotal_exact + adjustments_exact + fees_exact + commitments_exact + discounts_exact"
            " + tax_exact + credits_exact",
            name="invoices_total_exact",
        ),
        sa.CheckConstraint(
            "total = subtotal + adjustments + fees + commitments + discounts + tax + credits", name="invoices_total"
        ),
        sa.CheckConstraint(
            "tax = tax_exact AND tax_amount >= 0 AND CASE tax_treatment WHEN 'exclusive' THEN tax = tax_amount"
            " WHEN 'inclusive' THEN tax = 0 WHEN 'reverse_charge' THEN tax = 0 AND tax_amount = 0 AND tax_rate = 0"
            " ELSE tax_treatment = 'none' AND tax = 0 AND tax_amount = 0 AND tax_rate = 0 END",
            name="invoices_tax",
        ),
        sa.CheckConstraint("(status = 'paid') = (paid_at IS NOT NULL)", name="invoices_paid_at"),
        sa.CheckConstraint(
            "CASE status WHEN 'void' THEN true WHEN 'paid' THEN amount_paid + amount_credited >= total"
            " ELSE amount_paid + amount_credited < total END",
            name="invoices_settled",
        ),
        sa.CheckConstraint("amount_credited BETWEEN 0 AND total", name="invoices_credited"),
        sa.Index(
            "invoices_one_per_month",
            "organization_id",
            "currency",
            "month",
            "kind",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=sa.text("status <> 'void'"),
        ),
        sa.Index("invoices_number", "organization_id", "number", unique=True),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: InvoiceId = Field(primary_key=True, sa_type=sa.Uuid)
    number: str = Field(sa_type=sa.Text)
    status: InvoiceStatus = Field(sa_type=sa.Text)
    kind: InvoiceKind = Field(sa_type=sa.Text)
    currency: str = Field(sa_type=sa.Text)
    month: str = Field(sa_type=sa.Text)
    period_start: datetime = Field(sa_type=INSTANT)
    period_end: datetime = Field(sa_type=INSTANT)
    timezone: str = Field(sa_type=sa.Text)
    cut: int = Field(sa_type=sa.Integer)
    previous_end: datetime | None = Field(sa_type=INSTANT)
    previous_cut: int | None = Field(sa_type=sa.Integer)
    billing_mode: BillingMode = Field(sa_type=sa.Text)
    customer_name: str = Field(sa_type=sa.Text)
    subtotal_exact: Decimal = Field(sa_type=MONEY)
    credits_exact: Decimal = Field(sa_type=MONEY)
    total_exact: Decimal = Field(sa_type=MONEY)
    subtotal: Decimal = Field(sa_type=MONEY)
    credits: Decimal = Field(sa_type=MONEY)
    total: Decimal = Field(sa_type=MONEY)
    issued_at: datetime = Field(sa_type=INSTANT)
    due_at: datetime | None = Field(sa_type=INSTANT)
    paid_at: datetime | None = Field(sa_type=INSTANT)
    document: str = Field(sa_type=sa.Text)
    adjustments_exact: Decimal = Field(sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    adjustments: Decimal = Field(sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    amount_paid: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    amount_credited: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    fees_exact: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    fees: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    commitments_exact: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    commitments: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    discounts_exact: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    discounts: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    tax_exact: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    tax: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    tax_treatment: TaxTreatment = Field(
        default=TaxTreatment.NONE, sa_type=sa.Text, sa_column_kwargs={"server_default": "none"}
    )
    tax_label: str | None = Field(default=None, sa_type=sa.Text)
    tax_rate: Decimal = Field(default=Decimal(0), sa_type=sa.Numeric(7, 4), sa_column_kwargs={"server_default": "0"})
    tax_amount: Decimal = Field(default=Decimal(0), sa_type=MONEY, sa_column_kwargs={"server_default": "0"})
    tax_note: str | None = Field(default=None, sa_type=sa.Text)


class InvoiceLineRow(SQLModel, table=True):
    """One line of an issued invoice."""

    __tablename__ = "invoice_lines"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="invoice_lines_invoice",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            "type IN ('usage', 'adjustment', 'fee', 'commitment', 'discount', 'credits', 'tax')",
            name="invoice_lines_type",
        ),
        sa.CheckConstraint(
            "CASE type WHEN 'usage'"
            " THEN num_nonnulls(model, kind, tier, unit, unit_price, quantity) = 6"
            " ELSE num_nonnulls(project_id, model, kind, tier, price_version_id, unit, unit_price, quantity) = 0 END",
            name="invoice_lines_usage",
        ),
        sa.CheckConstraint(
            "num_nonnulls(adjustment_id, adjustment_reason) = CASE type WHEN 'adjustment' THEN 2 ELSE 0 END",
            name="invoice_lines_adjustment",
        ),
        sa.CheckConstraint(
            "num_nonnulls(agreement_id, wording) = CASE"
            " WHEN type IN ('fee', 'commitment', 'discount') THEN 2 WHEN type = 'tax' THEN 1 ELSE 0 END",
            name="invoice_lines_agreement",
        ),
        # What of an agreement was invoiced, and what late usage of a month, decides what is due of it.
        sa.Index(
            "invoice_lines_agreements",
            "organization_id",
            "agreement_id",
            postgresql_where=sa.text("agreement_id IS NOT NULL"),
        ),
        sa.Index(
            "invoice_lines_late",
            "organization_id",
            "origin",
            postgresql_where=sa.text("origin IS NOT NULL AND type = 'usage'"),
        ),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    invoice_id: InvoiceId = Field(primary_key=True, sa_type=sa.Uuid)
    n: int = Field(primary_key=True, sa_type=sa.Integer)
    type: LineType = Field(sa_type=sa.Text)
    project_id: ProjectId | None = Field(default=None, sa_type=sa.Uuid)
    project_name: str | None = Field(default=None, sa_type=sa.Text)
    model: str | None = Field(default=None, sa_type=sa.Text)
    kind: str | None = Field(default=None, sa_type=sa.Text)
    tier: int | None = Field(default=None, sa_type=sa.BigInteger)
    price_version_id: PriceVersionId | None = Field(default=None, sa_type=sa.Uuid)
    unit: str | None = Field(default=None, sa_type=sa.Text)
    unit_price: Decimal | None = Field(default=None, sa_type=MONEY)
    quantity: Decimal | None = Field(default=None, sa_type=sa.Numeric(38, 0))
    origin: str | None = Field(default=None, sa_type=sa.Text)
    amount_exact: Decimal = Field(sa_type=MONEY)
    amount: Decimal = Field(sa_type=MONEY)
    adjustment_id: AdjustmentId | None = Field(default=None, sa_type=sa.Uuid)
    adjustment_reason: str | None = Field(default=None, sa_type=sa.Text)
    agreement_id: AgreementId | None = Field(default=None, sa_type=sa.Uuid)
    wording: str | None = Field(default=None, sa_type=sa.Text)


class InvoicePaymentRow(SQLModel, table=True):
    """Money that came in for an invoice or went back. Rows are only added."""

    __tablename__ = "invoice_payments"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="invoice_payments_invoice",
        ),
        sa.CheckConstraint(
            "kind IN ('payment', 'refund', 'refund_failed', 'dispute', 'dispute_won')", name="invoice_payments_kind"
        ),
        sa.CheckConstraint("method IN ('manual', 'stripe', 'credit')", name="invoice_payments_method"),
        sa.CheckConstraint("method <> 'credit' OR kind = 'refund'", name="invoice_payments_by_credit"),
        sa.CheckConstraint("amount > 0", name="invoice_payments_amount"),
        sa.Index("invoice_payments_of", "organization_id", "invoice_id"),
        sa.Index("invoice_payments_reference", "reference"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: PaymentId = Field(primary_key=True, sa_type=sa.Uuid)
    invoice_id: InvoiceId = Field(sa_type=sa.Uuid)
    kind: PaymentKind = Field(sa_type=sa.Text)
    method: PaymentMethod = Field(sa_type=sa.Text)
    amount: Decimal = Field(sa_type=MONEY)
    currency: str = Field(sa_type=sa.Text)
    reference: str | None = Field(default=None, sa_type=sa.Text)
    occurred_at: datetime = Field(sa_type=INSTANT)
    recorded_at: datetime = Field(sa_type=INSTANT)
    recorded_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)


class InvoiceActRow(SQLModel, table=True):
    """That an invoice was voided or given up, by whom and why. Rows are only added."""

    __tablename__ = "invoice_acts"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"], ["invoices.organization_id", "invoices.id"], name="invoice_acts_invoice"
        ),
        sa.CheckConstraint("kind IN ('void', 'uncollectible')", name="invoice_acts_kind"),
        sa.Index("invoice_acts_of", "organization_id", "invoice_id"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    invoice_id: InvoiceId = Field(sa_type=sa.Uuid)
    kind: ActKind = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    acted_at: datetime = Field(sa_type=INSTANT)
    acted_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)


class CreditNoteRow(SQLModel, table=True):
    """One credit note. It never changes."""

    __tablename__ = "credit_notes"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"], ["invoices.organization_id", "invoices.id"], name="credit_notes_invoice"
        ),
        sa.CheckConstraint("surplus IN ('balance', 'credit')", name="credit_notes_surplus"),
        sa.CheckConstraint("total < 0", name="credit_notes_total"),
        sa.Index("credit_notes_of", "organization_id", "invoice_id"),
        sa.Index("credit_notes_number", "number", unique=True),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: CreditNoteId = Field(primary_key=True, sa_type=sa.Uuid)
    invoice_id: InvoiceId = Field(sa_type=sa.Uuid)
    number: str = Field(sa_type=sa.Text)
    currency: str = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    surplus: Surplus = Field(sa_type=sa.Text)
    total: Decimal = Field(sa_type=MONEY)
    total_exact: Decimal = Field(sa_type=MONEY)
    tax: Decimal = Field(sa_type=MONEY)
    contained_tax: Decimal = Field(sa_type=MONEY)
    issued_at: datetime = Field(sa_type=INSTANT)
    issued_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    document: str = Field(sa_type=sa.Text)


class CreditNoteLineRow(SQLModel, table=True):
    """What one credit note takes from one line of its invoice: below zero where the line is above."""

    __tablename__ = "credit_note_lines"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "credit_note_id"],
            ["credit_notes.organization_id", "credit_notes.id"],
            name="credit_note_lines_note",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id", "n"],
            ["invoice_lines.organization_id", "invoice_lines.invoice_id", "invoice_lines.n"],
            name="credit_note_lines_line",
        ),
        sa.Index("credit_note_lines_of", "organization_id", "invoice_id", "n"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    credit_note_id: CreditNoteId = Field(primary_key=True, sa_type=sa.Uuid)
    n: int = Field(primary_key=True, sa_type=sa.Integer)
    invoice_id: InvoiceId = Field(sa_type=sa.Uuid)
    type: LineType = Field(sa_type=sa.Text)
    amount: Decimal = Field(sa_type=MONEY)
    amount_exact: Decimal = Field(sa_type=MONEY)


class InvoiceSeriesRow(SQLModel, table=True):
    """The next serial number of one series."""

    __tablename__ = "invoice_series"

    series: str = Field(primary_key=True, sa_type=sa.Text)
    next_number: int = Field(sa_type=sa.BigInteger)


class ClosingFailureRow(SQLModel, table=True):
    """The month that an organization waits for, because the last try to close it failed."""

    __tablename__ = "closing_failures"
    __table_args__ = (
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="closing_failures_organization"),
        sa.CheckConstraint("attempts > 0", name="closing_failures_attempts"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    month: str = Field(sa_type=sa.Text)
    reason: str = Field(sa_type=sa.Text)
    since: datetime = Field(sa_type=INSTANT)
    last_at: datetime = Field(sa_type=INSTANT)
    attempts: int = Field(sa_type=sa.Integer)
