"""A record of every change to catalogue and prices, and the life of slugs."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0012_catalogue"
down_revision = "0011_health"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0012_catalogue.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0012_catalogue_down.sql").read_text())
