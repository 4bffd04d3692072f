"""Open circuits of endpoints, where sessions were served, and how long to wait for an endpoint."""

import sqlalchemy as sa
from alembic import op

revision = "0011_health"
down_revision = "0010_statistics"
branch_labels = None
depends_on = None

FAULTS = "'unreachable', 'silent', 'limited', 'denied', 'gone', 'failing'"
PATIENCES = ("connect_timeout_seconds", "first_byte_timeout_seconds", "idle_timeout_seconds")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "endpoint_circuits",
        sa.Column("endpoint_id", sa.Uuid, nullable=False),
        sa.Column("fault", sa.Text, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("openings", sa.SmallInteger, nullable=False),
        sa.Column("is_told", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", name="endpoint_circuits_pkey"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["endpoints.id"], name="endpoint_circuits_endpoint", ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"fault IN ({FAULTS})", name="endpoint_circuits_fault"),
        sa.CheckConstraint("openings > 0", name="endpoint_circuits_openings"),
    )
    op.create_table(
        "session_places",
        sa.Column("organization_id", sa.Uuid, nullable=False),
        sa.Column("session", sa.LargeBinary, nullable=False),
        sa.Column("endpoint_id", sa.Uuid, nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "session", name="session_places_pkey"),
        sa.CheckConstraint("octet_length(session) = 16", name="session_places_session"),
    )
    op.create_index("session_places_served_at", "session_places", ["served_at"])
    for name in PATIENCES:
        op.add_column("endpoints", sa.Column(name, sa.Integer))
    op.create_check_constraint(
        "endpoints_timeouts",
        "endpoints",
        "connect_timeout_seconds > 0 AND first_byte_timeout_seconds > 0 AND idle_timeout_seconds > 0",
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_constraint("endpoints_timeouts", "endpoints")
    for name in PATIENCES:
        op.drop_column("endpoints", name)
    op.drop_table("session_places")
    op.drop_table("endpoint_circuits")
