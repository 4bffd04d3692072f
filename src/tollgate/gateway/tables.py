"""Table of sessions: where each was served last, for an hour."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import EndpointId, OrganizationId


class SessionPlaceRow(SQLModel, table=True):
    """Where one session of an organization was served last. The caller's own name for it is only here as a digest."""

    __tablename__ = "session_places"
    __table_args__ = (
        sa.CheckConstraint("octet_length(session) = 16", name="session_places_session"),
        # "What is too old to be of use?"
        sa.Index("session_places_served_at", "served_at"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    session: bytes = Field(primary_key=True, sa_type=sa.LargeBinary)
    endpoint_id: EndpointId = Field(sa_type=sa.Uuid)
    served_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
