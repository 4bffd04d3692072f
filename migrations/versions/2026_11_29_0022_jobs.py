"""Closings that failed: which month of whom, since when, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0022_jobs"
down_revision = "0021_rerating"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "closing_failures",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("month", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="closing_failures_organization"),
        sa.CheckConstraint("attempts > 0", name="closing_failures_attempts"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("closing_failures")
