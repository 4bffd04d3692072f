"""Providers, models, endpoints, dated prices that cannot be rewritten, and a revision that moves with each of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002_catalogue_and_prices"
down_revision = "0001_accounts_and_keys"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)
TEXTS = sa.ARRAY(sa.Text)
WATCHED = ("providers", "models", "endpoints", "price_versions", "price_items")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_providers()
    _create_models()
    _create_endpoints()
    _create_price_versions()
    _create_price_items()
    _refuse_rewriting()
    _count_revisions()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (*reversed(WATCHED), "catalogue_revision"):
        op.drop_table(table)
    for function in ("refuse_price_change", "refuse_item_change", "refuse_late_item", "move_catalogue_revision"):
        op.execute(f"DROP FUNCTION {function}")


def _create_providers() -> None:
    op.create_table(
        "providers",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("base_url", sa.Text),
        sa.Column("credential", sa.Text),
        sa.Column("status_page", sa.Text),
        sa.Column("regions", TEXTS, nullable=False),
        sa.CheckConstraint(
            "format IN ('openai', 'azure_openai', 'anthropic', 'gemini', 'openai_compatible', 'sandbox')",
            name="providers_format",
        ),
        sa.CheckConstraint("credential ~ '^env:'", name="providers_credential"),
        sa.CheckConstraint("base_url IS NOT NULL OR format = 'sandbox'", name="providers_base_url"),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("input_modalities", TEXTS, nullable=False),
        sa.Column("output_modalities", TEXTS, nullable=False),
        sa.Column("tokenizer", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("slug ~ '^[^/:]+/[^/:]+$'", name="models_slug"),
    )


def _create_endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.Text, nullable=False),
        sa.Column("context_length", sa.Integer),
        sa.Column("max_output", sa.Integer),
        sa.Column("protocols", TEXTS, nullable=False),
        sa.Column("supported_parameters", TEXTS, nullable=False),
        sa.Column("training", sa.Boolean),
        sa.Column("logging", sa.Text),
        sa.Column("moderation", sa.Text),
        sa.Column("supports_cancel", sa.Boolean, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="endpoints_model"),
        sa.ForeignKeyConstraint(["provider"], ["providers.slug"], name="endpoints_provider"),
        sa.UniqueConstraint("model", "provider", name="endpoints_model_provider"),
        sa.CheckConstraint("context_length > 0 AND max_output > 0", name="endpoints_lengths"),
    )


def _create_price_versions() -> None:
    op.create_table(
        "price_versions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("endpoint_id", sa.Uuid, nullable=False),
        sa.Column("organization_id", sa.Uuid),
        sa.Column("service_tier", sa.Text, nullable=False),
        sa.Column("effective_from", INSTANT, nullable=False),
        sa.Column("effective_to", INSTANT),
        sa.Column("item_count", sa.SmallInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("published_at", INSTANT, nullable=False),
        sa.Column("published_by", sa.Uuid),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name="price_versions_endpoint"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="price_versions_organization"),
        sa.CheckConstraint("effective_from < effective_to", name="price_versions_period"),
        sa.CheckConstraint("source IN ('operator', 'seed', 'import')", name="price_versions_source"),
    )
    op.execute("""
        ALTER TABLE price_versions ADD CONSTRAINT price_versions_no_overlap EXCLUDE USING gist (
            endpoint_id WITH =,
            COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid) WITH =,
            service_tier WITH =,
            tstzrange(effective_from, effective_to) WITH &&
        )
    """)


def _create_price_items() -> None:
    op.create_table(
        "price_items",
        sa.Column("price_version_id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.SmallInteger, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("unit_price", MONEY, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("prompt_tokens_from", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens_below", sa.BigInteger),
        sa.ForeignKeyConstraint(["price_version_id"], ["price_versions.id"], name="price_items_version"),
        sa.CheckConstraint("unit_price >= 0", name="price_items_unit_price"),
        sa.CheckConstraint("unit IN ('per_million_tokens', 'per_count', 'per_second')", name="price_items_unit"),
        sa.CheckConstraint(
            "prompt_tokens_from >= 0 AND prompt_tokens_from < prompt_tokens_below", name="price_items_tier"
        ),
    )


def _refuse_rewriting() -> None:
    """A version may be given an end once; nothing else about it or its items ever changes.

    A version declares how many items it has, so that none can be slipped in after it was published.
    """
    op.execute("""
        CREATE FUNCTION refuse_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            ended price_versions := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.effective_to IS NULL AND NEW.effective_to IS NOT NULL THEN
                ended.effective_to := NEW.effective_to;
                IF NEW IS NOT DISTINCT FROM ended THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'A published price is superseded, never edited' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER price_versions_immutable BEFORE UPDATE OR DELETE ON price_versions
        FOR EACH ROW EXECUTE FUNCTION refuse_price_change()
    """)
    op.execute("""
        CREATE FUNCTION refuse_item_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'A published price is superseded, never edited' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER price_items_immutable BEFORE UPDATE OR DELETE ON price_items
        FOR EACH ROW EXECUTE FUNCTION refuse_item_change()
    """)
    op.execute("""
        CREATE FUNCTION refuse_late_item() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.position NOT BETWEEN 0
                AND (SELECT item_count - 1 FROM price_versions WHERE id = NEW.price_version_id) THEN
                RAISE EXCEPTION 'A published price is superseded, never added to' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER price_items_complete BEFORE INSERT ON price_items
        FOR EACH ROW EXECUTE FUNCTION refuse_late_item()
    """)


def _count_revisions() -> None:
    """One number that moves with every change, so that a gateway knows when its snapshot is old."""
    op.create_table(
        "catalogue_revision",
        sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.CheckConstraint("singleton", name="catalogue_revision_singleton"),
    )
    op.execute("INSERT INTO catalogue_revision (revision) VALUES (0)")
    op.execute("""
        CREATE FUNCTION move_catalogue_revision() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved bigint;
        BEGIN
            UPDATE catalogue_revision SET revision = revision + 1 RETURNING revision INTO moved;
            PERFORM pg_notify('catalogue_changed', moved::text);
            RETURN NULL;
        END $$
    """)
    for table in WATCHED:
        op.execute(f"""
            CREATE TRIGGER {table}_revision AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION move_catalogue_revision()
        """)
