"""Table of the answers that repeated writes get again."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import OrganizationId


class IdempotentAnswerRow(SQLModel, table=True):
    """The first answer to one write, sealed so that only its own caller can read it. Kept at least 48 hours."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (
        # Old answers are dropped by age.
        sa.Index("idempotent_answers_created_at", "created_at"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    slot: bytes = Field(primary_key=True, sa_type=sa.LargeBinary)
    fingerprint: bytes = Field(sa_type=sa.LargeBinary)
    answer: bytes = Field(sa_type=sa.LargeBinary)
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
