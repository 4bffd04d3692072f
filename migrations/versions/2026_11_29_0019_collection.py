"""Collection: invoices to collect, refunds, disputes, movements at Stripe, and comparisons of its books with ours."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from tollgate.infra.migrations import refuse_to_lose

revision = "0019_collection"
down_revision = "0018_stripe"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
ONLY_ADDED = ("stripe_movements", "stripe_payout_shares", "reconciliations")
TABLES = ("collections", "collection_settings", "refunds", "disputes", *ONLY_ADDED)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_collections()
    _create_settings()
    _create_refunds()
    _create_disputes()
    _create_movements()
    _create_reconciliations()
    for table in ONLY_ADDED:
        _refuse_changes(table)
    _collect_what_is_issued()
    _allow_payments_of_kind("'payment', 'refund', 'refund_failed', 'dispute', 'dispute_won'")
    # Refunds and disputes at Stripe name the payment that they are of, and nothing of ours.
    op.create_index("invoice_payments_reference", "invoice_payments", ["reference"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Their postings stay in the ledger, which would have them for nothing.
    for what, table in (("Refunds", "refunds"), ("Disputes", "disputes"), ("Movements at Stripe", "stripe_movements")):
        refuse_to_lose(op.get_bind(), what, table)
    _allow_payments_of_kind("'payment', 'refund', 'dispute', 'dispute_won'")
    op.drop_index("invoice_payments_reference", "invoice_payments")
    op.execute("DROP TRIGGER invoices_to_collect ON invoices")
    op.execute("DROP TRIGGER invoices_move_collections ON invoices")
    op.execute("DROP FUNCTION collect_invoice")
    op.execute("DROP FUNCTION wake_collection")
    for table in TABLES:
        op.drop_table(table)


def _create_collections() -> None:
    op.create_table(
        "collections",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("invoice_id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.Text, nullable=False, server_default="open"),
        sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
        sa.Column("begun_at", INSTANT),
        sa.Column("stripe_customer_id", sa.Text),
        sa.Column("stripe_invoice_id", sa.Text),
        sa.Column("amount", MONEY),
        sa.Column("filled_at", INSTANT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("first_failed_at", INSTANT),
        sa.Column("last_attempt_at", INSTANT),
        sa.Column("past_due_at", INSTANT),
        sa.Column("suspended_at", INSTANT),
        sa.Column("errors", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("parked_reason", sa.Text),
        sa.Column("is_asked", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("woken", sa.Boolean, nullable=False, server_default="true"),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "invoice_id"],
            ["invoices.organization_id", "invoices.id"],
            name="collections_invoice",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint("state IN ('open', 'done', 'parked')", name="collections_state"),
        sa.CheckConstraint("(state = 'parked') = (parked_reason IS NOT NULL)", name="collections_parked_reason"),
        sa.CheckConstraint("failures BETWEEN 0 AND attempts AND attempts <= failures + 1", name="collections_attempts"),
    )
    # What is due is looked for every few seconds, among all that ever were.
    op.execute("CREATE INDEX collections_due ON collections (next_at) WHERE state = 'open'")
    op.execute("CREATE INDEX collections_woken ON collections (organization_id, invoice_id) WHERE woken")
    op.create_index("collections_mirror", "collections", ["stripe_invoice_id"], unique=True)


def _create_settings() -> None:
    op.create_table(
        "collection_settings",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("mode", sa.Text),
        sa.Column("suspended_at", INSTANT),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="collection_settings_organization"),
        sa.CheckConstraint("mode IN ('automatic', 'send', 'none')", name="collection_settings_mode"),
    )


def _create_refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("payment_intent_id", sa.Text, nullable=False),
        sa.Column("invoice_id", sa.Uuid),
        sa.Column("top_up_id", sa.Uuid),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("is_ours", sa.Boolean, nullable=False),
        sa.Column("stripe_refund_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("from_credit", MONEY, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", INSTANT),
        sa.Column("requested_by", sa.Uuid),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="refunds_organization"),
        sa.CheckConstraint("amount > 0", name="refunds_amount"),
        sa.CheckConstraint("status IN ('requested', 'sent', 'succeeded', 'failed')", name="refunds_status"),
        sa.CheckConstraint("num_nonnulls(invoice_id, top_up_id) = 1", name="refunds_of_one"),
    )
    op.create_index("refunds_at_stripe", "refunds", ["stripe_refund_id"], unique=True)
    op.execute("CREATE INDEX refunds_due ON refunds (next_at) WHERE next_at IS NOT NULL")


def _create_disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("stripe_dispute_id", sa.Text, nullable=False),
        sa.Column("payment_intent_id", sa.Text, nullable=False),
        sa.Column("invoice_id", sa.Uuid),
        sa.Column("top_up_id", sa.Uuid),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("withdrawn", MONEY, nullable=False),
        sa.Column("returned", MONEY, nullable=False),
        sa.Column("from_credit", MONEY, nullable=False, server_default="0"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="disputes_organization"),
        sa.CheckConstraint("num_nonnulls(invoice_id, top_up_id) = 1", name="disputes_of_one"),
    )
    op.create_index("disputes_at_stripe", "disputes", ["stripe_dispute_id"], unique=True)


def _create_movements() -> None:
    op.create_table(
        "stripe_movements",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source_id", sa.Text),
        sa.Column("payment_intent_id", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("fee", MONEY, nullable=False),
        sa.Column("source_currency", sa.Text, nullable=False),
        sa.Column("source_amount", MONEY, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="stripe_movements_organization"),
    )
    op.create_index("stripe_movements_id", "stripe_movements", ["id"], unique=True)
    op.create_index("stripe_movements_of", "stripe_movements", ["payment_intent_id"])
    op.create_table(
        "stripe_payout_shares",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("payout_id", sa.Text, primary_key=True),
        sa.Column("currency", sa.Text, primary_key=True),
        sa.Column("is_return", sa.Boolean, primary_key=True),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="stripe_payout_shares_organization"),
    )
    op.create_index("stripe_payout_shares_payout", "stripe_payout_shares", ["payout_id"])


def _create_reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("compared", JSONB, nullable=False),
        sa.Column("repaired", sa.Integer, nullable=False),
        sa.Column("differences", JSONB, nullable=False),
    )


def _refuse_changes(table: str) -> None:
    op.execute(f"""
        CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
    op.execute(f"""
        CREATE TRIGGER {table}_are_never_truncated BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """)


def _collect_what_is_issued() -> None:
    """An invoice that is issued with something due is to be collected, and what becomes of it wakes its collection."""
    op.execute("""
        CREATE FUNCTION collect_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO collections (organization_id, invoice_id, next_at, created_at, updated_at)
            VALUES (NEW.organization_id, NEW.id, NEW.issued_at, NEW.issued_at, NEW.issued_at);
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invoices_to_collect AFTER INSERT ON invoices
        FOR EACH ROW WHEN (NEW.status = 'finalised') EXECUTE FUNCTION collect_invoice()
    """)
    op.execute("""
        CREATE FUNCTION wake_collection() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE collections SET woken = true WHERE organization_id = NEW.organization_id AND invoice_id = NEW.id;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invoices_move_collections AFTER UPDATE OF status, amount_paid, amount_credited ON invoices
        FOR EACH ROW EXECUTE FUNCTION wake_collection()
    """)
    op.execute("""
        INSERT INTO collections (organization_id, invoice_id, next_at, created_at, updated_at)
        SELECT organization_id, id, issued_at, issued_at, issued_at FROM invoices WHERE status = 'finalised'
    """)


def _allow_payments_of_kind(kinds: str) -> None:
    op.drop_constraint("invoice_payments_kind", "invoice_payments")
    op.create_check_constraint("invoice_payments_kind", "invoice_payments", f"kind IN ({kinds})")
