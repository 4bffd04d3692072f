"""Credit notes, what was done to whole invoices and why, and refunds that became credit."""

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import refuse_to_lose

revision = "0017_credit_notes"
down_revision = "0016_agreements"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
OF_INVOICE = (["organization_id", "invoice_id"], ["invoices.organization_id", "invoices.id"])
BEFORE = "derived_id(i.id, 'given up before reasons were recorded')"
_METHOD, _METHODS_OF_0015 = "method IN ('manual', 'stripe', 'credit')", "method IN ('manual', 'stripe')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_acts()
    _give_up_what_was()
    _create_notes()
    _create_note_lines()
    _say_methods(_METHOD)
    op.create_check_constraint(
        "invoice_payments_by_credit", "invoice_payments", "method <> 'credit' OR kind = 'refund'"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _refuse_to_forget_acts()
    op.drop_constraint("invoice_payments_by_credit", "invoice_payments")
    _say_methods(_METHODS_OF_0015)
    for table in ("credit_note_lines", "credit_notes", "invoice_acts"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_late_credit_line")


def _say_methods(condition: str) -> None:
    op.drop_constraint("invoice_payments_method", "invoice_payments")
    op.create_check_constraint("invoice_payments_method", "invoice_payments", condition)


def _create_acts() -> None:
    op.create_table(
        "invoice_acts",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("invoice_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("acted_at", INSTANT, nullable=False),
        sa.Column("acted_by", sa.Uuid),
        sa.ForeignKeyConstraint(*OF_INVOICE, name="invoice_acts_invoice"),
        sa.CheckConstraint("kind IN ('void', 'uncollectible')", name="invoice_acts_kind"),
    )
    op.create_index("invoice_acts_of", "invoice_acts", ["organization_id", "invoice_id"])
    _only_add("invoice_acts")


def _give_up_what_was() -> None:
    """Of what was given up by hand in the database the ledger was told nothing: there it was still to come."""
    op.execute(f"""
        INSERT INTO invoice_acts (organization_id, id, invoice_id, kind, reason, acted_at)
        SELECT organization_id, {BEFORE}, id, 'uncollectible', 'given up before reasons were recorded',
               clock_timestamp()
        FROM invoices AS i WHERE status = 'uncollectible' AND amount_paid = 0 AND amount_credited = 0
    """)
    # Where this was undone and is done again, the transfer is there already.
    op.execute("""
        SELECT ledger_post(i.organization_id, derived_id(a.id, 'uncollectible:receivable'),
                           'uncollectible', 'receivable', i.total, i.currency, 'uncollectible', i.id,
                           NULL, a.acted_at, a.acted_at)
        FROM invoice_acts AS a JOIN invoices AS i ON i.organization_id = a.organization_id AND i.id = a.invoice_id
        ORDER BY i.organization_id, i.id
    """)


def _refuse_to_forget_acts() -> None:
    """What was done later is in the ledger, and credit notes are documents that somebody has."""
    later = f"""
        invoice_acts AS a JOIN invoices AS i ON i.organization_id = a.organization_id AND i.id = a.invoice_id
        WHERE a.id <> {BEFORE}
    """
    refuse_to_lose(op.get_bind(), "Credit notes", "credit_notes")
    refuse_to_lose(op.get_bind(), "What was done to invoices", later)


def _create_notes() -> None:
    op.create_table(
        "credit_notes",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("invoice_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("surplus", sa.Text, nullable=False),
        sa.Column("total", MONEY, nullable=False),
        sa.Column("total_exact", MONEY, nullable=False),
        sa.Column("tax", MONEY, nullable=False),
        sa.Column("contained_tax", MONEY, nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.Column("issued_by", sa.Uuid),
        sa.Column("document", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(*OF_INVOICE, name="credit_notes_invoice"),
        sa.CheckConstraint("surplus IN ('balance', 'credit')", name="credit_notes_surplus"),
        sa.CheckConstraint("total < 0", name="credit_notes_total"),
    )
    op.create_index("credit_notes_of", "credit_notes", ["organization_id", "invoice_id"])
    op.create_index("credit_notes_number", "credit_notes", ["number"], unique=True)
    _only_add("credit_notes")


def _create_note_lines() -> None:
    """Lines go in before their note, which then closes the door on them: the reference is checked at commit."""
    op.create_table(
        "credit_note_lines",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("credit_note_id", sa.Uuid, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("invoice_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("amount_exact", MONEY, nullable=False),
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
    )
    op.create_index("credit_note_lines_of", "credit_note_lines", ["organization_id", "invoice_id", "n"])
    _only_add("credit_note_lines")
    op.execute("""
        CREATE FUNCTION refuse_late_credit_line() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM credit_notes AS c
                       WHERE c.organization_id = NEW.organization_id AND c.id = NEW.credit_note_id) THEN
                RAISE EXCEPTION 'An issued credit note gets no further lines' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER credit_note_lines_complete BEFORE INSERT ON credit_note_lines
        FOR EACH ROW EXECUTE FUNCTION refuse_late_credit_line()
    """)


def _only_add(table: str) -> None:
    op.execute(f"""
        CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute(f"""
        CREATE TRIGGER {table}_are_never_truncated BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)
