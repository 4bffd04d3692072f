"""What an endpoint may leave out of a translated request, and our own count of a call beside its provider's."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from tollgate.infra.migrations import restore, run_script

revision = "0007_translation"
down_revision = "0006_jobs"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "endpoints", sa.Column("ignorable_parameters", sa.ARRAY(sa.Text), nullable=False, server_default="{}")
    )
    op.add_column("calls", sa.Column("estimate", JSONB))
    run_script(op.get_bind(), (SQL / "0007_settle.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    restore(op.get_bind(), SQL / "0003_metering.sql", "settle")
    op.execute("ALTER TYPE call_record DROP ATTRIBUTE estimate")
    op.drop_column("calls", "estimate")
    op.drop_column("endpoints", "ignorable_parameters")
