"""Events: the outbox that whatever happens is written to, in the transaction that makes it happen."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014_events"
down_revision = "0013_terms"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "events",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="events_organization"),
    )
    op.execute("""
        CREATE FUNCTION emit_event(
            p_organization_id uuid, p_id uuid, p_type text, p_data jsonb, p_occurred_at timestamptz
        ) RETURNS void LANGUAGE sql AS $$
            INSERT INTO events (organization_id, id, type, data, occurred_at)
            VALUES (p_organization_id, p_id, p_type, p_data, p_occurred_at)
            ON CONFLICT DO NOTHING
        $$
    """)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP FUNCTION emit_event")
    op.drop_table("events")
