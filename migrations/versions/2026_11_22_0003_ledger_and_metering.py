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
