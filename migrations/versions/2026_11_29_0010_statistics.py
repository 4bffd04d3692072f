"""How endpoints have been doing: samples that settling leaves, and what they are folded into."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import restore, run_script

revision = "0010_statistics"
down_revision = "0009_recovery"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0010_statistics.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    restore(op.get_bind(), SQL / "0009_settle.sql", "settle")
    for table in ("endpoint_grains", "endpoint_buckets", "endpoint_samples"):
        op.drop_table(table)
