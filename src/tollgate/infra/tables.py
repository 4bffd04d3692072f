"""Tables of the answers that repeated writes get again, and of what was changed in catalogue and prices."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import KeyId, OrganizationId


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


class ChangeRow(SQLModel, table=True):
    """One change. The database refuses to change or delete it."""

    __tablename__ = "catalogue_changes"
    __table_args__ = (
        # "What became of this one?"
        sa.Index("catalogue_changes_subject", "kind", "subject", "id"),
    )

    id: UUID = Field(primary_key=True, sa_type=sa.Uuid)
    at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    by: KeyId | None = Field(sa_type=sa.Uuid)
    address: str | None = Field(sa_type=sa.Text)
    action: str = Field(sa_type=sa.Text)
    kind: str = Field(sa_type=sa.Text)
    subject: str = Field(sa_type=sa.Text)
    before: dict[str, Any] | None = Field(sa_type=JSONB(none_as_null=True))
    after: dict[str, Any] | None = Field(sa_type=JSONB(none_as_null=True))
