"""The ledger, and what every call holds, uses and leaves behind."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0003_ledger_and_metering"
down_revision = "0002_catalogue_and_prices"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in ("0003_ledger.sql", "0003_metering.sql"):
        run_script(op.get_bind(), (SQL / name).read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for function in (
        "release_expired_holds",
        "settle",
        "move_counters",
        "admit",
        "lock_counters",
        "following_window",
        "windows_at",
        "local_midnight",
        "ensure_partitions",
        "lowest_uuid7",
        "ledger_charge_calls",
        "ledger_charge_calls_of_one_time",
        "ledger_post",
    ):
        op.execute(f"DROP FUNCTION {function}")
    for row in (
        "attempt_record",
        "charge_record",
        "call_record",
        "admission",
        "admission_request",
        "caller",
        "windows",
        "ledger_charge",
    ):
        op.execute(f"DROP TYPE {row}")
    for table in ("rollups", "attempts", "calls", "holds", "counters", "grants", "ledger_accounts", "transfers"):
        op.drop_table(table)
    for function in ("refuse_change", "derived_id"):
        op.execute(f"DROP FUNCTION {function}")
