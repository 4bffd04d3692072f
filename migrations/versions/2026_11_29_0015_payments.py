"""Payments of invoices: what came in for one or went back, and what that leaves due."""

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import refuse_to_lose

revision = "0015_payments"
down_revision = "0014_events"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
BEFORE = "derived_id(i.id, 'paid before payments were recorded')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _add_amounts()
    _create_payments()
    _record_what_was_paid()
    _allow_payment()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _refuse_to_forget_money()
    _allow_what_0004_did()
    op.drop_table("invoice_payments")
    for constraint in ("invoices_settled", "invoices_credited"):
        op.drop_constraint(constraint, "invoices")
    for column in ("amount_paid", "amount_credited"):
        op.drop_column("invoices", column)


def _add_amounts() -> None:
    """Invoices were only ever paid at once, because nothing was due, or by hand in the database, and then in whole."""
    for column in ("amount_paid", "amount_credited"):
        op.add_column("invoices", sa.Column(column, MONEY, nullable=False, server_default="0"))
    op.execute("ALTER TABLE invoices DISABLE TRIGGER invoices_immutable")
    op.execute("UPDATE invoices SET amount_paid = total WHERE status = 'paid'")
    op.execute("ALTER TABLE invoices ENABLE TRIGGER invoices_immutable")
    op.create_check_constraint(
        "invoices_settled",
        "invoices",
        "CASE status WHEN 'void' THEN true WHEN 'paid' THEN amount_paid + amount_credited >= total"
        " ELSE amount_paid + amount_credited < total END",
    )
    op.create_check_constraint("invoices_credited", "invoices", "amount_credited BETWEEN 0 AND total")


def _create_payments() -> None:
    op.create_table(
        "invoice_payments",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("invoice_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("recorded_by", sa.Uuid),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="invoice_payments_invoice",
        ),
        sa.CheckConstraint("kind IN ('payment', 'refund', 'dispute', 'dispute_won')", name="invoice_payments_kind"),
        sa.CheckConstraint("method IN ('manual', 'stripe')", name="invoice_payments_method"),
        sa.CheckConstraint("amount > 0", name="invoice_payments_amount"),
    )
    op.create_index("invoice_payments_of", "invoice_payments", ["organization_id", "invoice_id"])
    op.execute("""
        CREATE TRIGGER invoice_payments_immutable BEFORE UPDATE OR DELETE ON invoice_payments
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute("""
        CREATE TRIGGER invoice_payments_are_never_truncated BEFORE TRUNCATE ON invoice_payments
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)


def _record_what_was_paid() -> None:
    """Of what was paid by hand in the database the ledger was told nothing: there it was owed for ever."""
    op.execute(f"""
        INSERT INTO invoice_payments (organization_id, id, invoice_id, kind, method, amount, currency, reference,
                                      occurred_at, recorded_at)
        SELECT organization_id, {BEFORE}, id, 'payment', 'manual', total, currency,
               'paid before payments were recorded', paid_at, clock_timestamp()
        FROM invoices AS i WHERE status = 'paid' AND total > 0
    """)
    # Where this was undone and is done again, the transfer is there already.
    op.execute("""
        SELECT ledger_post(organization_id, derived_id(id, 'cash:receivable'), 'cash', 'receivable', amount, currency,
                           'payment', id, NULL, occurred_at, recorded_at)
        FROM invoice_payments ORDER BY organization_id, id
    """)


def _refuse_to_forget_money() -> None:
    """What came in later is in the ledger, which would have it without an invoice that it paid."""
    later = f"""
        invoice_payments AS p JOIN invoices AS i ON i.organization_id = p.organization_id AND i.id = p.invoice_id
        WHERE p.id <> {BEFORE}
    """
    refuse_to_lose(op.get_bind(), "Payments", later)


def _allow_payment() -> None:
    """What is paid and credited moves in every status; a paid invoice is open again if money goes back."""
    _replace_guard("""
        moved.amount_paid := NEW.amount_paid;
        moved.amount_credited := NEW.amount_credited;
        IF OLD.status = NEW.status OR (OLD.status, NEW.status) IN (
            ('finalised', 'paid'), ('finalised', 'void'), ('finalised', 'uncollectible'), ('uncollectible', 'paid'),
            ('paid', 'finalised')
        ) THEN
            moved.status := NEW.status;
            moved.paid_at := NEW.paid_at;
        END IF;
    """)


def _allow_what_0004_did() -> None:
    _replace_guard("""
        IF (OLD.status, NEW.status) IN (
            ('finalised', 'paid'), ('finalised', 'void'), ('finalised', 'uncollectible'), ('uncollectible', 'paid')
        ) THEN
            moved.status := NEW.status;
            moved.paid_at := NEW.paid_at;
        END IF;
    """)


def _replace_guard(moves: str) -> None:
    op.execute(f"""
        CREATE OR REPLACE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved invoices := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                {moves}
                IF NEW IS DISTINCT FROM OLD AND NEW IS NOT DISTINCT FROM moved THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'An issued invoice never changes; only its status moves on'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
