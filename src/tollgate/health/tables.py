"""Table of open circuits, by which processes tell each other and those that come after them."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.health.model import Fault
from tollgate.kit.ids import EndpointId


class CircuitRow(SQLModel, table=True):
    """The open circuit of one endpoint. A circuit that closes has no row; nothing else remembers it."""

    __tablename__ = "endpoint_circuits"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["endpoints.id"], name="endpoint_circuits_endpoint", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "fault IN ('unreachable', 'silent', 'limited', 'denied', 'gone', 'failing')", name="endpoint_circuits_fault"
        ),
        sa.CheckConstraint("openings > 0", name="endpoint_circuits_openings"),
    )

    endpoint_id: EndpointId = Field(primary_key=True, sa_type=sa.Uuid)
    fault: Fault = Field(sa_type=sa.Text)
    opened_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    until: datetime = Field(sa_type=sa.DateTime(timezone=True))
    openings: int = Field(sa_type=sa.SmallInteger)
    is_told: bool = Field(sa_type=sa.Boolean)
