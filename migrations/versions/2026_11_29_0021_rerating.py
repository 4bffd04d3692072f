"""Re-rating: corrected prices of the past, what they change for whom, and usage that got its price that way."""

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import refuse_to_lose

revision = "0021_rerating"
down_revision = "0020_webhooks"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
ONLY_ADDED_TO = ("rerate_items", "rerate_months", "repriced_usage")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_rerates()
    _create_items()
    _create_results()
    _create_months()
    _create_repriced_usage()
    for table in ONLY_ADDED_TO:
        op.execute(f"""
            CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """)
    for table in (*ONLY_ADDED_TO, "rerates", "rerate_results"):
        op.execute(f"""
            CREATE TRIGGER {table}_are_never_truncated BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Forgotten, they could be applied once more.
    refuse_to_lose(op.get_bind(), "Applied re-rates", "rerate_results WHERE posted_at IS NOT NULL")
    for table in ("repriced_usage", "rerate_months", "rerate_results", "rerate_items", "rerates"):
        op.drop_table(table)
    for function in ("refuse_rerate_change", "refuse_rerate_result_change"):
        op.execute(f"DROP FUNCTION {function}")


def _create_rerates() -> None:
    op.create_table(
        "rerates",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("endpoint_id", sa.Uuid, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("service_tier", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Uuid),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.Column("measured_at", INSTANT),
        sa.Column("applied_number", sa.BigInteger),
        sa.Column("applied_at", INSTANT),
        sa.Column("applied_by", sa.Uuid),
        sa.Column("finished_at", INSTANT),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name="rerates_endpoint"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="rerates_organization"),
        sa.CheckConstraint("since < until", name="rerates_window"),
        sa.CheckConstraint("state IN ('measuring', 'measured', 'applying', 'applied')", name="rerates_state"),
        sa.CheckConstraint(
            "num_nonnulls(applied_number, applied_at) = CASE WHEN state IN ('applying', 'applied') THEN 2 ELSE 0 END",
            name="rerates_applied",
        ),
    )
    op.create_index("rerates_number", "rerates", ["endpoint_id", "number"], unique=True)
    op.create_index(
        "rerates_under_way", "rerates", ["id"], postgresql_where=sa.text("state IN ('measuring', 'applying')")
    )
    _guard(
        "rerates",
        "refuse_rerate_change",
        "The terms of a re-rate never change; only its state moves on",
        ("state", "measured_at", "applied_number", "applied_at", "applied_by", "finished_at"),
        "true",
    )


def _create_items() -> None:
    op.create_table(
        "rerate_items",
        sa.Column("rerate_id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.SmallInteger, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("unit_price", MONEY, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("prompt_tokens_from", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens_below", sa.BigInteger),
        sa.ForeignKeyConstraint(["rerate_id"], ["rerates.id"], name="rerate_items_rerate"),
        sa.CheckConstraint("unit_price >= 0", name="rerate_items_unit_price"),
    )


def _create_results() -> None:
    op.create_table(
        "rerate_results",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("rerate_id", sa.Uuid, primary_key=True),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cut", sa.Integer),
        sa.Column("measured_at", INSTANT),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("calls_spared", sa.BigInteger, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("new_amount", MONEY, nullable=False),
        sa.Column("percents", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("unpriced", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("lacking", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("posted_at", INSTANT),
        sa.Column("adjustment_id", sa.Uuid),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="rerate_results_organization"),
        sa.ForeignKeyConstraint(["rerate_id"], ["rerates.id"], name="rerate_results_rerate"),
        sa.CheckConstraint("measured_at IS NULL OR cut IS NOT NULL", name="rerate_results_measured"),
        sa.CheckConstraint(
            "CASE WHEN posted_at IS NULL THEN adjustment_id IS NULL"
            " ELSE measured_at IS NOT NULL AND (adjustment_id IS NULL) = (new_amount = amount) END",
            name="rerate_results_posted",
        ),
    )
    op.create_index("rerate_results_of", "rerate_results", ["rerate_id", "organization_id"])
    _guard(
        "rerate_results",
        "refuse_rerate_result_change",
        "What a re-rate was measured to change never changes",
        ("next_at", "attempts", "posted_at", "adjustment_id"),
        "OLD.posted_at IS NULL",
        unless="OLD.measured_at IS NULL",
    )


def _create_months() -> None:
    op.create_table(
        "rerate_months",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("rerate_id", sa.Uuid, primary_key=True),
        sa.Column("month", sa.Text, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("new_amount", MONEY, nullable=False),
        sa.Column("invoice_number", sa.Text),
        sa.ForeignKeyConstraint(
            ["organization_id", "rerate_id"],
            ["rerate_results.organization_id", "rerate_results.rerate_id"],
            name="rerate_months_result",
        ),
    )


def _create_repriced_usage() -> None:
    op.create_table(
        "repriced_usage",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("price_version_id", sa.Uuid, primary_key=True),
        sa.Column("rerate_id", sa.Uuid, primary_key=True),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("cut", sa.Integer, nullable=False),
        sa.CheckConstraint("since < until", name="repriced_usage_window"),
    )


def _guard(table: str, function: str, told: str, columns: tuple[str, ...], allowed: str, *, unless: str = "") -> None:
    """Let only these columns of a row change, and only while that is allowed."""
    moves = "\n".join(f"moved.{column} := NEW.{column};" for column in columns)
    free = f"IF TG_OP = 'UPDATE' AND {unless} THEN RETURN NEW; END IF;" if unless else ""
    op.execute(f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved {table} := OLD;
        BEGIN
            {free}
            IF TG_OP = 'UPDATE' AND {allowed} THEN
                {moves}
                IF NEW IS NOT DISTINCT FROM moved THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION '{told}' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute(f"""
        CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {function}()
    """)
