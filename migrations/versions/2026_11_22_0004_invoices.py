"""Invoices, their lines and their numbers; and the triggers that keep an issued invoice as it was issued."""

import sqlalchemy as sa
from alembic import op

revision = "0004_invoices"
down_revision = "0003_ledger_and_metering"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_invoices()
    _create_lines()
    _create_series()
    _keep_invoices()
    _keep_lines()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("invoice_lines", "invoices", "invoice_series"):
        op.drop_table(table)
    for function in ("refuse_invoice_change", "refuse_late_line"):
        op.execute(f"DROP FUNCTION {function}")


def _create_invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("month", sa.Text, nullable=False),
        sa.Column("period_start", INSTANT, nullable=False),
        sa.Column("period_end", INSTANT, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("cut", sa.Integer, nullable=False),
        sa.Column("previous_end", INSTANT),
        sa.Column("previous_cut", sa.Integer),
        sa.Column("billing_mode", sa.Text, nullable=False),
        sa.Column("customer_name", sa.Text, nullable=False),
        sa.Column("subtotal_exact", MONEY, nullable=False),
        sa.Column("credits_exact", MONEY, nullable=False),
        sa.Column("total_exact", MONEY, nullable=False),
        sa.Column("subtotal", MONEY, nullable=False),
        sa.Column("credits", MONEY, nullable=False),
        sa.Column("total", MONEY, nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("paid_at", INSTANT),
        sa.Column("document", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="invoices_organization"),
        sa.CheckConstraint("kind IN ('usage')", name="invoices_kind"),
        sa.CheckConstraint("status IN ('finalised', 'paid', 'void', 'uncollectible')", name="invoices_status"),
        sa.CheckConstraint("period_start < period_end", name="invoices_period"),
        sa.CheckConstraint("total_exact = subtotal_exact + credits_exact", name="invoices_total_exact"),
        sa.CheckConstraint("total = subtotal + credits", name="invoices_total"),
        sa.CheckConstraint("(status = 'paid') = (paid_at IS NOT NULL)", name="invoices_paid_at"),
    )
    op.create_index(
        "invoices_one_per_month",
        "invoices",
        ["organization_id", "currency", "month", "kind"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("status <> 'void'"),
    )
    op.create_index("invoices_number", "invoices", ["organization_id", "number"], unique=True)


def _create_lines() -> None:
    """Lines go in before their invoice, which then closes the door on them: the reference is checked at commit."""
    op.create_table(
        "invoice_lines",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("invoice_id", sa.Uuid, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("project_id", sa.Uuid),
        sa.Column("project_name", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("tier", sa.BigInteger),
        sa.Column("price_version_id", sa.Uuid),
        sa.Column("unit", sa.Text),
        sa.Column("unit_price", MONEY),
        sa.Column("quantity", sa.Numeric(38, 0)),
        sa.Column("origin", sa.Text),
        sa.Column("amount_exact", MONEY, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="invoice_lines_invoice",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint("type IN ('usage', 'credits')", name="invoice_lines_type"),
        sa.CheckConstraint(
            "CASE type WHEN 'usage'"
            " THEN num_nonnulls(model, kind, tier, unit, unit_price, quantity) = 6"
            " ELSE num_nonnulls(project_id, model, kind, tier, price_version_id, unit, unit_price, quantity) = 0 END",
            name="invoice_lines_usage",
        ),
    )


def _create_series() -> None:
    """A sequence would leave gaps where a transaction rolls back; a row does not."""
    op.create_table(
        "invoice_series",
        sa.Column("series", sa.Text, primary_key=True),
        sa.Column("next_number", sa.BigInteger, nullable=False),
    )


def _keep_invoices() -> None:
    op.execute("""
        CREATE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved invoices := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' AND (OLD.status, NEW.status) IN (
                ('finalised', 'paid'), ('finalised', 'void'), ('finalised', 'uncollectible'), ('uncollectible', 'paid')
            ) THEN
                moved.status := NEW.status;
                moved.paid_at := NEW.paid_at;
                IF NEW IS NOT DISTINCT FROM moved THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'An issued invoice never changes; only its status moves on'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invoices_immutable BEFORE UPDATE OR DELETE ON invoices
        FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change()
    """)
    op.execute("""
        CREATE TRIGGER invoices_are_never_truncated BEFORE TRUNCATE ON invoices
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)


def _keep_lines() -> None:
    op.execute("""
        CREATE FUNCTION refuse_late_line() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM invoices AS i
                       WHERE i.organization_id = NEW.organization_id AND i.id = NEW.invoice_id) THEN
                RAISE EXCEPTION 'An issued invoice gets no further lines' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invoice_lines_complete BEFORE INSERT ON invoice_lines
        FOR EACH ROW EXECUTE FUNCTION refuse_late_line()
    """)
    op.execute("""
        CREATE TRIGGER invoice_lines_immutable BEFORE UPDATE OR DELETE ON invoice_lines
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER invoice_lines_are_never_truncated BEFORE TRUNCATE ON invoice_lines
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
