"""Waking: what triggers make due asks for its job in the same transaction."""

from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0023_waking"
down_revision = "0022_jobs"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0023_waking.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER events_wake ON events")
    op.execute("DROP TRIGGER collections_made_wake ON collections")
    op.execute("DROP TRIGGER collections_woken_wake ON collections")
    op.execute("DROP FUNCTION wake_webhooks")
    op.execute("DROP FUNCTION wake_collecting")
    op.execute("DROP FUNCTION ask_for_jobs")
