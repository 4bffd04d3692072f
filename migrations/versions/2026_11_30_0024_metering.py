"""Metering made lean: what holds and settles does the same in fewer statements, with plans that are certain."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import restore, run_script

revision = "0024_metering"
down_revision = "0023_waking"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
NEW = (
    "settle(call_record[], charge_record[], attempt_record[], timestamptz)",
    "sample_endpoints(call_record[], attempt_record[], timestamptz)",
    "roll_up(call_record[], charge_record[], numeric[], counters[])",
    "record_calls(call_record[], holds[], numeric[], counters[], timestamptz)",
    "release_expired_holds(timestamptz, integer)",
    "write_counters(counters[])",
    "moved_counters(counters[], call_record[], holds[])",
    "holds_of(call_record[], holds[])",
    "admit(admission_request[], timestamptz, interval, uuid)",
    "lock_counters(uuid[], uuid[], timestamptz)",
    "rolled_forward(counters[], timestamptz)",
    "ledger_charge_calls(ledger_charge[], timestamptz, text)",
)
BEFORE = (
    ("0003_ledger.sql", "derived_id"),
    ("0008_grants.sql", "ledger_charge_calls_of_one_time"),
    ("0008_grants.sql", "ledger_charge_calls"),
    ("0003_metering.sql", "lock_counters"),
    ("0003_metering.sql", "move_counters"),
    ("0009_recovery.sql", "admit"),
    ("0009_recovery.sql", "release_expired_holds"),
    ("0020_webhooks.sql", "settle"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0024_metering.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "DROP PROCEDURE settle_and_flush(call_record[], charge_record[], attempt_record[], timestamptz, settled[])"
    )
    op.execute("DROP TYPE settled")
    for function in NEW:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("CREATE TYPE caller AS (organization_id uuid, project_id uuid, key_id uuid)")
    for file, name in BEFORE:
        restore(op.get_bind(), SQL / file, name)
