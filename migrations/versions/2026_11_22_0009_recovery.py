"""What is left of calls when their process dies, requests that only ask, and what is left of rates."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import restore, run_script

revision = "0009_recovery"
down_revision = "0008_grants"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for script in ("0009_recovery.sql", "0009_settle.sql"):
        run_script(op.get_bind(), (SQL / script).read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for function in (
        "flush_settlements()",
        "begin_sweep(interval, interval)",
        "inherit_holds(uuid, uuid, uuid[], interval)",
        "renew_leases(uuid, uuid[], interval, interval)",
        "checkpoint_holds(uuid[], uuid[], text[])",
        "release_expired_holds(timestamptz, integer)",
        "admit(admission_request[], timestamptz, interval, uuid)",
        "settle(call_record[], charge_record[], attempt_record[], timestamptz)",
    ):
        op.execute(f"DROP FUNCTION {function}")
    for attribute in ("minute_end", "tokens_left", "tokens_limit", "requests_left", "requests_limit"):
        op.execute(f"ALTER TYPE admission DROP ATTRIBUTE {attribute}")
    op.execute("ALTER TYPE admission_request DROP ATTRIBUTE only_asks")
    op.execute("DROP TABLE recovery")
    op.execute("DROP INDEX calls_unpriced")
    op.execute("ALTER TABLE holds RESET (fillfactor)")
    op.execute("DROP INDEX holds_process")
    op.execute("ALTER TABLE holds DROP COLUMN checkpoint, DROP COLUMN process_id")
    for name in ("admit", "release_expired_holds"):
        restore(op.get_bind(), SQL / "0003_metering.sql", name)
    restore(op.get_bind(), SQL / "0007_settle.sql", "settle")
