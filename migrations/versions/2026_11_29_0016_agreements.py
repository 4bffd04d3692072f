"""What was agreed with organizations, and invoices that say it: fees, commitments, discounts, tax, addresses."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016_agreements"
down_revision = "0015_payments"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
PARTS = ("fees", "commitments", "discounts", "tax")
LINE_TYPES = "'usage', 'adjustment', 'fee', 'commitment', 'discount', 'credits', 'tax'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_details()
    _create_agreements()
    _keep()
    _extend_invoices()
    _extend_lines()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _shorten_lines()
    _shorten_invoices()
    for table in ("agreements", "issuers", "billing_details"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_agreement_change")


def _create_details() -> None:
    op.create_table(
        "billing_details",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("details", JSONB, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Uuid),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="billing_details_organization"),
    )
    op.create_table(
        "issuers",
        sa.Column("revision", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("details", JSONB, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Uuid),
    )


def _create_agreements() -> None:
    op.create_table(
        "agreements",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("amount", MONEY),
        sa.Column("percent", sa.Numeric(7, 4)),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("starts_on", sa.Date, nullable=False),
        sa.Column("ends_on", sa.Date),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.Column("ended_at", INSTANT),
        sa.Column("ended_by", sa.Uuid),
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
    )
    op.execute("""
        ALTER TABLE agreements ADD CONSTRAINT agreements_no_overlap EXCLUDE USING gist (
            organization_id WITH =, kind WITH =, COALESCE(name, '') WITH =, daterange(starts_on, ends_on) WITH &&
        )
    """)


def _keep() -> None:
    """Details are superseded by later ones; of an agreement only its end moves, and only to an earlier day."""
    op.execute("""
        CREATE FUNCTION refuse_agreement_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            allowed agreements := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' AND (OLD.ends_on IS NULL OR NEW.ends_on < OLD.ends_on) THEN
                allowed.ends_on := NEW.ends_on;
                allowed.ended_at := NEW.ended_at;
                allowed.ended_by := NEW.ended_by;
                IF NEW IS NOT DISTINCT FROM allowed THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'An agreement never changes; it may only end earlier'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table, function in (
        ("billing_details", "refuse_change"),
        ("issuers", "refuse_change"),
        ("agreements", "refuse_agreement_change"),
    ):
        op.execute(f"""
            CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {function}()
        """)
        op.execute(f"""
            CREATE TRIGGER {table}_are_never_truncated BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)


def _extend_invoices() -> None:
    for part in PARTS:
        for column in (part, f"{part}_exact"):
            op.add_column("invoices", sa.Column(column, MONEY, nullable=False, server_default="0"))
    op.add_column("invoices", sa.Column("tax_treatment", sa.Text, nullable=False, server_default="none"))
    op.add_column("invoices", sa.Column("tax_label", sa.Text))
    op.add_column("invoices", sa.Column("tax_rate", sa.Numeric(7, 4), nullable=False, server_default="0"))
    op.add_column("invoices", sa.Column("tax_amount", MONEY, nullable=False, server_default="0"))
    op.add_column("invoices", sa.Column("tax_note", sa.Text))
    for suffix in ("", "_exact"):
        parts = " + ".join(f"{part}{suffix}" for part in ("subtotal", "adjustments", *PARTS, "credits"))
        op.drop_constraint(f"invoices_total{suffix}", "invoices")
        op.create_check_constraint(f"invoices_total{suffix}", "invoices", f"total{suffix} = {parts}")
    op.create_check_constraint(
        "invoices_tax",
        "invoices",
        "tax = tax_exact AND tax_amount >= 0 AND CASE tax_treatment WHEN 'exclusive' THEN tax = tax_amount"
        " WHEN 'inclusive' THEN tax = 0 WHEN 'reverse_charge' THEN tax = 0 AND tax_amount = 0 AND tax_rate = 0"
        " ELSE tax_treatment = 'none' AND tax = 0 AND tax_amount = 0 AND tax_rate = 0 END",
    )


def _extend_lines() -> None:
    op.add_column("invoice_lines", sa.Column("agreement_id", sa.Uuid))
    op.add_column("invoice_lines", sa.Column("wording", sa.Text))
    op.drop_constraint("invoice_lines_type", "invoice_lines")
    op.create_check_constraint("invoice_lines_type", "invoice_lines", f"type IN ({LINE_TYPES})")
    op.create_check_constraint(
        "invoice_lines_agreement",
        "invoice_lines",
        "num_nonnulls(agreement_id, wording) = CASE"
        " WHEN type IN ('fee', 'commitment', 'discount') THEN 2 WHEN type = 'tax' THEN 1 ELSE 0 END",
    )
    op.create_index(
        "invoice_lines_agreements",
        "invoice_lines",
        ["organization_id", "agreement_id"],
        postgresql_where=sa.text("agreement_id IS NOT NULL"),
    )
    op.create_index(
        "invoice_lines_late",
        "invoice_lines",
        ["organization_id", "origin"],
        postgresql_where=sa.text("origin IS NOT NULL AND type = 'usage'"),
    )


def _shorten_lines() -> None:
    for index in ("invoice_lines_late", "invoice_lines_agreements"):
        op.drop_index(index, "invoice_lines")
    op.drop_constraint("invoice_lines_agreement", "invoice_lines")
    op.drop_constraint("invoice_lines_type", "invoice_lines")
    op.create_check_constraint("invoice_lines_type", "invoice_lines", "type IN ('usage', 'adjustment', 'credits')")
    for column in ("agreement_id", "wording"):
        op.drop_column("invoice_lines", column)


def _shorten_invoices() -> None:
    op.drop_constraint("invoices_tax", "invoices")
    for suffix in ("", "_exact"):
        op.drop_constraint(f"invoices_total{suffix}", "invoices")
        op.create_check_constraint(
            f"invoices_total{suffix}",
            "invoices",
            f"total{suffix} = subtotal{suffix} + adjustments{suffix} + credits{suffix}",
        )
    for column in ("tax_treatment", "tax_label", "tax_rate", "tax_amount", "tax_note"):
        op.drop_column("invoices", column)
    for part in PARTS:
        for column in (part, f"{part}_exact"):
            op.drop_column("invoices", column)
