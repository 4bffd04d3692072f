"""Metering leaner in small batches: less is aggregated, and what belongs to a scope is found by its place."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import restore, run_script

revision = "0026_metering"
down_revision = "0025_usage_sums"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
NEW = (
    "begin_counter()",
    "flush_settlements()",
    "settle(call_record[], charge_record[], attempt_record[], timestamptz)",
    "roll_up(call_record[], charge_record[], numeric[], integer[])",
    "move_counters(counters[], uuid[], call_record[], holds[])",
    "ledger_charge_calls(anyarray, timestamptz, text)",
    "taken_from(counters, numeric, bigint, bigint)",
    "refusal(admission_request, limits[], counters[], numeric, text)",
    "lock_counters(anyarray, timestamptz)",
)
BEFORE = (
    ("0009_settle.sql", "flush_settlements"),
    ("0024_metering.sql", "ledger_charge_calls"),
    ("0024_metering.sql", "lock_counters"),
    ("0024_metering.sql", "admit"),
    ("0024_metering.sql", "moved_counters"),
    ("0024_metering.sql", "write_counters"),
    ("0024_metering.sql", "record_calls"),
    ("0024_metering.sql", "roll_up"),
    ("0024_metering.sql", "settle"),
    ("0024_metering.sql", "settle_and_flush"),
    ("0024_metering.sql", "release_expired_holds"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0026_metering.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER begin_counter ON organizations")
    for function in NEW:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TYPE standing")
    op.execute("ALTER TYPE ledger_charge RENAME ATTRIBUTE accepted_at TO occurred_at")
    for file, name in BEFORE:
        restore(op.get_bind(), SQL / file, name)
