"""The tables of the job queue's own library."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0006_jobs"
down_revision = "0005_idempotency"
branch_labels = None
depends_on = None

SCRIPT = Path(__file__).parent.parent / "sql" / "0006_jobs.sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), SCRIPT.read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION fn_pgqueuer_changed")
    op.execute("DROP TYPE pgqueuer_status")
