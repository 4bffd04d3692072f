"""The answers that repeated writes get again."""

import sqlalchemy as sa
from alembic import op

revision = "0005_idempotency"
down_revision = "0004_invoices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "idempotent_answers",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("slot", sa.LargeBinary, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("idempotent_answers_created_at", "idempotent_answers", ["created_at"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("idempotent_answers")
