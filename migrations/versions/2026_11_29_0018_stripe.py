"""Payments at Stripe: who is which customer there, top-ups, and the inbox of webhooks."""

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import refuse_to_lose

revision = "0018_stripe"
down_revision = "0017_credit_notes"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
_FIXED = ("amount", "tax", "currency", "created_at", "created_by", "once_key", "once_request", "expires_at")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_customers()
    _create_top_ups()
    _create_events()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    refuse_to_lose(op.get_bind(), "Top-ups that were paid", "top_ups WHERE status = 'paid'")
    for table in ("stripe_events", "top_ups", "stripe_customers"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_top_up_change")


def _create_customers() -> None:
    op.create_table(
        "stripe_customers",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("customer_id", sa.Text),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="stripe_customers_organization"),
    )
    op.create_index(
        "stripe_customers_id",
        "stripe_customers",
        ["customer_id"],
        unique=True,
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )


def _create_top_ups() -> None:
    op.create_table(
        "top_ups",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("tax", MONEY, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("success_url", sa.Text, nullable=False),
        sa.Column("cancel_url", sa.Text, nullable=False),
        sa.Column("customer_id", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("payment_intent_id", sa.Text),
        sa.Column("grant_id", sa.Uuid),
        sa.Column("once_key", sa.LargeBinary),
        sa.Column("once_request", sa.LargeBinary),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="top_ups_organization"),
        sa.CheckConstraint("amount > 0 AND tax >= 0", name="top_ups_amounts"),
        sa.CheckConstraint(
            "status IN ('opening', 'open', 'processing', 'paid', 'expired', 'failed', 'parked')", name="top_ups_status"
        ),
        sa.CheckConstraint("(status = 'paid') = (grant_id IS NOT NULL)", name="top_ups_credit"),
        sa.CheckConstraint("(status IN ('failed', 'parked')) = (reason IS NOT NULL)", name="top_ups_reason"),
        sa.CheckConstraint("(status IN ('paid', 'expired', 'failed')) = (closed_at IS NOT NULL)", name="top_ups_end"),
        sa.CheckConstraint("(once_key IS NULL) = (once_request IS NULL)", name="top_ups_once"),
    )
    _index_top_ups()
    _guard_top_ups()


def _index_top_ups() -> None:
    for name, columns, where, unique in (
        ("top_ups_session", ["session_id"], "session_id IS NOT NULL", True),
        ("top_ups_asked_once", ["organization_id", "once_key"], "once_key IS NOT NULL", True),
        ("top_ups_due", ["next_at"], "next_at IS NOT NULL", False),
    ):
        op.create_index(name, "top_ups", columns, unique=unique, postgresql_where=sa.text(where))


def _guard_top_ups() -> None:
    fixed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in _FIXED)
    op.execute(f"""
        CREATE FUNCTION refuse_top_up_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.status <> 'paid' AND NOT ({fixed}) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'What a top-up is of never changes, and nothing of one that is paid'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER top_ups_stay BEFORE UPDATE OR DELETE ON top_ups
        FOR EACH ROW EXECUTE FUNCTION refuse_top_up_change()
    """)


def _create_events() -> None:
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("is_live", sa.Boolean, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("processed_at", INSTANT),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("stripe_events_due", "stripe_events", ["next_at"], postgresql_where=sa.text("processed_at IS NULL"))
    op.create_index("stripe_events_received", "stripe_events", ["received_at"])
