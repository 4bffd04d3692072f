"""Sums of usage over days and months, that workers fold rollups into."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0025_usage_sums"
down_revision = "0024_metering"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0025_usage_sums.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("usage_sums", "usage_stretches", "usage_folds"):
        op.drop_table(table)
