"""How endpoints have been doing: samples that settling leaves, and what they are folded into."""

import re
from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0010_statistics"
down_revision = "0009_recovery"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SETTLE_BEFORE = re.compile(r"^CREATE (FUNCTION settle\(.*?^\$\$;)$", re.DOTALL | re.MULTILINE)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0010_statistics.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    (settle,) = SETTLE_BEFORE.findall((SQL / "0009_settle.sql").read_text())
    run_script(op.get_bind(), f"CREATE OR REPLACE {settle}")
    for table in ("endpoint_grains", "endpoint_buckets", "endpoint_samples"):
        op.drop_table(table)
