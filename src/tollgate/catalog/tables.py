"""Tables of providers, models, aliases and endpoints, and the revision that moves when catalogue or prices change."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tollgate.catalog.model import Format
from tollgate.kit.ids import EndpointId


class ProviderRow(SQLModel, table=True):
    """One provider."""

    __tablename__ = "providers"
    __table_args__ = (
        sa.CheckConstraint(
            "format IN ('openai', 'azure_openai', 'anthropic', 'gemini', 'openai_compatible', 'sandbox')",
            name="providers_format",
        ),
        sa.CheckConstraint("credential ~ '^env:'", name="providers_credential"),
        sa.CheckConstraint("base_url IS NOT NULL OR format = 'sandbox'", name="providers_base_url"),
    )

    slug: str = Field(primary_key=True, sa_type=sa.Text)
    name: str = Field(sa_type=sa.Text)
    format: Format = Field(sa_type=sa.Text)
    base_url: str | None = Field(sa_type=sa.Text)
    credential: str | None = Field(sa_type=sa.Text)
    status_page: str | None = Field(sa_type=sa.Text)
    regions: list[str] = Field(sa_type=sa.ARRAY(sa.Text))


class ModelRow(SQLModel, table=True):
    """One model."""

    __tablename__ = "models"
    __table_args__ = (
        sa.ForeignKeyConstraint(["replaced_by"], ["models.slug"], name="models_replaced_by"),
        sa.CheckConstraint("slug ~ '^[^/:]+/[^/:]+$'", name="models_slug"),
        sa.CheckConstraint("replaced_by <> slug", name="models_replaced_by_another"),
        sa.CheckConstraint("deprecated_at <= retires_at", name="models_retire_once_deprecated"),
    )

    slug: str = Field(primary_key=True, sa_type=sa.Text)
    name: str = Field(sa_type=sa.Text)
    description: str = Field(sa_type=sa.Text)
    input_modalities: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    output_modalities: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    tokenizer: str = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    deprecated_at: datetime | None = Field(sa_type=sa.DateTime(timezone=True))
    retires_at: datetime | None = Field(sa_type=sa.DateTime(timezone=True))
    replaced_by: str | None = Field(sa_type=sa.Text)


class AliasRow(SQLModel, table=True):
    """Another slug of one model."""

    __tablename__ = "model_aliases"
    __table_args__ = (
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="model_aliases_model"),
        sa.CheckConstraint("slug ~ '^[^/:]+/[^/:]+$'", name="model_aliases_slug"),
    )

    slug: str = Field(primary_key=True, sa_type=sa.Text)
    model: str = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=sa.DateTime(timezone=True))


class EndpointRow(SQLModel, table=True):
    """One model at one provider."""

    __tablename__ = "endpoints"
    __table_args__ = (
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="endpoints_model"),
        sa.ForeignKeyConstraint(["provider"], ["providers.slug"], name="endpoints_provider"),
        sa.UniqueConstraint("model", "provider", name="endpoints_model_provider"),
        sa.CheckConstraint("context_length > 0 AND max_output > 0", name="endpoints_lengths"),
        sa.CheckConstraint(
            "connect_timeout_seconds > 0 AND first_byte_timeout_seconds > 0 AND idle_timeout_seconds > 0",
            name="endpoints_timeouts",
        ),
    )

    id: EndpointId = Field(primary_key=True, sa_type=sa.Uuid)
    model: str = Field(sa_type=sa.Text)
    provider: str = Field(sa_type=sa.Text)
    upstream_model: str = Field(sa_type=sa.Text)
    context_length: int | None
    max_output: int | None
    protocols: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    supported_parameters: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    training: bool | None
    logging: str | None = Field(sa_type=sa.Text)
    moderation: str | None = Field(sa_type=sa.Text)
    supports_cancel: bool
    enabled: bool
    ignorable_parameters: list[str] = Field(sa_type=sa.ARRAY(sa.Text), sa_column_kwargs={"server_default": "{}"})
    connect_timeout_seconds: int | None = None
    first_byte_timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None


class RevisionRow(SQLModel, table=True):
    """The one row that triggers move; nothing else writes it."""

    __tablename__ = "catalogue_revision"
    __table_args__ = (sa.CheckConstraint("singleton", name="catalogue_revision_singleton"),)

    singleton: bool = Field(primary_key=True, sa_column_kwargs={"server_default": sa.true()})
    revision: int = Field(sa_type=sa.BigInteger)
