"""Table of API keys."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tollgate.kit.ids import KeyId, OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind

TEXTS = sa.ARRAY(sa.Text)
POLICY: Any = JSONB(none_as_null=True)
"""A `RoutingPolicy`, null where there is none."""


class ApiKeyRow(SQLModel, table=True):
    """One API key. Operator keys belong to `ids.PLATFORM`, which is no organization, hence no foreign key to them.

    A trigger announces every change on the channel `key_changed`, so that no process trusts a stale copy.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["organization_id", "project_id"], ["projects.organization_id", "projects.id"], name="api_keys_project"
        ),
        sa.UniqueConstraint("organization_id", "public_id", name="api_keys_organization_public_id"),
        # A presented key names no organization; this index finds it.
        sa.Index("api_keys_public_id", "public_id"),
        sa.CheckConstraint("kind IN ('inference', 'management', 'operator')", name="api_keys_kind"),
        sa.CheckConstraint(
            "(kind = 'operator') = (organization_id = '00000000-0000-0000-0000-000000000000')", name="api_keys_operator"
        ),
        sa.CheckConstraint("octet_length(secret_hash) = 32", name="api_keys_secret_hash"),
        sa.CheckConstraint("jsonb_typeof(routing) = 'object'", name="api_keys_routing"),
    )

    organization_id: OrganizationId = Field(primary_key=True, sa_type=sa.Uuid)
    id: KeyId = Field(primary_key=True, sa_type=sa.Uuid)
    kind: KeyKind = Field(sa_type=sa.Text)
    name: str = Field(sa_type=sa.Text)
    project_id: ProjectId | None = Field(default=None, sa_type=sa.Uuid)
    public_id: str = Field(sa_type=sa.Text)
    secret_hash: bytes = Field(sa_type=sa.LargeBinary)
    label: str = Field(sa_type=sa.Text)
    models: list[str] | None = Field(default=None, sa_type=TEXTS)
    tags: list[str] = Field(sa_type=TEXTS, sa_column_kwargs={"server_default": sa.text("'{}'")})
    expires_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    disabled: bool = Field(default=False, sa_type=sa.Boolean, sa_column_kwargs={"server_default": sa.false()})
    revoked_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True))
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    created_by: KeyId | None = Field(default=None, sa_type=sa.Uuid)
    routing: dict[str, Any] | None = Field(default=None, sa_type=POLICY)
