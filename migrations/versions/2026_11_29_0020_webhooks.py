"""Webhooks: who is told of events, what has been sent, and the events that the database itself sees."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import restore, run_script

revision = "0020_webhooks"
down_revision = "0019_collection"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
MONEY = sa.Numeric(38, 12)
SQL = Path(__file__).parent.parent / "sql"
FUNCTIONS = (
    "tell_of_low_credits()",
    "tell_of_unpriced(call_record[], charge_record[], timestamptz)",
    "tell_of_limits(counters[], timestamptz)",
    "instant_text(timestamptz)",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_webhooks()
    _create_deliveries()
    _create_alerts()
    # What is told may have happened long before: `occurred_at` says when.
    now = sa.text("clock_timestamp()")
    op.add_column("events", sa.Column("recorded_at", INSTANT, nullable=False, server_default=now))
    # "What was told last?", and "what is so old that it can be dropped?"
    op.create_index("events_latest", "events", ["organization_id", "recorded_at", "id"])
    op.create_index("events_age", "events", ["recorded_at"])
    run_script(op.get_bind(), (SQL / "0020_webhooks.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    restore(op.get_bind(), SQL / "0010_statistics.sql", "settle")
    for trigger, table in (("grants_given", "grants"), ("grants_moved", "grants"), ("events_never_change", "events")):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute("DELETE FROM events WHERE type = 'webhook.test'")  # no type of event before
    _emit_as_0014_did()
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for index in ("events_latest", "events_age"):
        op.drop_index(index, "events")
    op.drop_column("events", "recorded_at")
    op.drop_index("limits_with_alert_percent", "limits")
    op.drop_constraint("limits_credits_alert", "limits")
    op.drop_column("limits", "credits_alert")
    for table in ("credit_alerts", "limit_alerts", "webhook_deliveries", "webhooks", "webhook_seal"):
        op.drop_table(table)


def _create_webhooks() -> None:
    op.create_table(
        "webhook_seal",
        sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("one", name="webhook_seal_is_one"),
    )
    op.create_table(
        "webhooks",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("types", sa.ARRAY(sa.Text)),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("disabled_because", sa.Text),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous_secret", sa.LargeBinary),
        sa.Column("previous_until", INSTANT),
        sa.Column("failing_since", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="webhooks_organization"),
        sa.CheckConstraint("disabled_because IN ('asked', 'gone')", name="webhooks_disabled_because"),
        sa.CheckConstraint("(previous_secret IS NULL) = (previous_until IS NULL)", name="webhooks_previous"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("webhook_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("next_at", INSTANT),
        sa.Column("tried_at", INSTANT),
        sa.Column("status", sa.SmallInteger),
        sa.Column("error", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("milliseconds", sa.Integer),
        # Who is told does not keep an event from being dropped, and goes with it.
        sa.ForeignKeyConstraint(
            ["organization_id", "event_id"],
            ["events.organization_id", "events.id"],
            name="webhook_deliveries_event",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("organization_id", "id", name="webhook_deliveries_id"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed', 'dropped')", name="webhook_deliveries_state"),
        sa.CheckConstraint("(state = 'pending') = (next_at IS NOT NULL)", name="webhook_deliveries_next"),
        postgresql_with={"fillfactor": "80"},
    )
    # "What is due?", of all endpoints and of each.
    for name, columns in (
        ("webhook_deliveries_due", ["next_at"]),
        ("webhook_deliveries_due_at", ["organization_id", "webhook_id", "next_at"]),
    ):
        op.create_index(name, "webhook_deliveries", columns, postgresql_where=sa.text("state = 'pending'"))
    # "What was sent to this endpoint?"
    op.create_index("webhook_deliveries_of", "webhook_deliveries", ["organization_id", "webhook_id", "first_at", "id"])


def _create_alerts() -> None:
    op.add_column("limits", sa.Column("credits_alert", MONEY))
    op.create_check_constraint(
        "limits_credits_alert",
        "limits",
        "credits_alert IS NULL OR credits_alert >= 0 AND scope_id = organization_id",
    )
    # Those who want to be told are few among those who settle.
    for column in ("alert_percent", "credits_alert"):
        op.create_index(
            f"limits_with_{column}",
            "limits",
            ["organization_id", "scope_id"],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_table(
        "limit_alerts",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("scope_id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("cap", MONEY, nullable=False),
        sa.Column("alert_percent", sa.SmallInteger, nullable=False),
    )
    op.create_table(
        "credit_alerts",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("low", sa.Boolean, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
    )


def _emit_as_0014_did() -> None:
    op.execute("""
        CREATE OR REPLACE FUNCTION emit_event(
            p_organization_id uuid, p_id uuid, p_type text, p_data jsonb, p_occurred_at timestamptz
        ) RETURNS void LANGUAGE sql AS $$
            INSERT INTO events (organization_id, id, type, data, occurred_at)
            VALUES (p_organization_id, p_id, p_type, p_data, p_occurred_at)
            ON CONFLICT DO NOTHING
        $$
    """)
