"""Organizations, projects, limits, API keys; and the trigger that announces when a key stops being what it was."""

import sqlalchemy as sa
from alembic import op

revision = "0001_accounts_and_keys"
down_revision = None
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    _create_organizations()
    _create_projects()
    _create_limits()
    _create_api_keys()
    _announce_changes()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("api_keys", "limits", "projects", "organizations"):
        op.drop_table(table)
    for function in ("announce_key", "announce_organization"):
        op.execute(f"DROP FUNCTION {function}")


def _create_organizations() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("billing_mode", sa.Text, nullable=False),
        sa.Column("credit_limit", MONEY, server_default="0"),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="active"),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("billing_mode IN ('prepaid', 'postpaid')", name="organizations_billing_mode"),
        sa.CheckConstraint("status IN ('active', 'suspended', 'closed')", name="organizations_status"),
        sa.CheckConstraint("credit_limit >= 0", name="organizations_credit_limit"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="organizations_currency"),
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("archived_at", INSTANT),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="projects_organization"),
    )


def _create_limits() -> None:
    op.create_table(
        "limits",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("scope_id", sa.Uuid, primary_key=True),
        sa.Column("total", MONEY),
        sa.Column("daily", MONEY),
        sa.Column("weekly", MONEY),
        sa.Column("monthly", MONEY),
        sa.Column("rpm", sa.BigInteger),
        sa.Column("tpm", sa.BigInteger),
        sa.Column("concurrency", sa.BigInteger),
        sa.Column("alert_percent", sa.SmallInteger),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="limits_organization"),
        sa.CheckConstraint("total >= 0 AND daily >= 0 AND weekly >= 0 AND monthly >= 0", name="limits_money"),
        sa.CheckConstraint("rpm >= 0 AND tpm >= 0 AND concurrency >= 0", name="limits_rates"),
        sa.CheckConstraint("alert_percent BETWEEN 1 AND 100", name="limits_alert_percent"),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("project_id", sa.Uuid),
        sa.Column("public_id", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("models", sa.ARRAY(sa.Text)),
        sa.Column("tags", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("expires_at", INSTANT),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("revoked_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Uuid),
        sa.ForeignKeyConstraint(
            ["organization_id", "project_id"], ["projects.organization_id", "projects.id"], name="api_keys_project"
        ),
        sa.UniqueConstraint("organization_id", "public_id", name="api_keys_organization_public_id"),
        sa.CheckConstraint("kind IN ('inference', 'management', 'operator')", name="api_keys_kind"),
        sa.CheckConstraint(
            "(kind = 'operator') = (organization_id = '00000000-0000-0000-0000-000000000000')", name="api_keys_operator"
        ),
        sa.CheckConstraint("octet_length(secret_hash) = 32", name="api_keys_secret_hash"),
    )
    op.create_index("api_keys_public_id", "api_keys", ["public_id"])


def _announce_changes() -> None:
    """The payload is `organization/key`, or `organization/` when all of its keys are concerned."""
    op.execute("""
        CREATE FUNCTION announce_key() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('key_changed', OLD.organization_id || '/' || OLD.id);
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION announce_organization() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('key_changed', (to_jsonb(OLD) ->> TG_ARGV[0]) || '/');
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER api_keys_announce AFTER UPDATE OR DELETE ON api_keys
        FOR EACH ROW EXECUTE FUNCTION announce_key()
    """)
    op.execute("""
        CREATE TRIGGER organizations_announce AFTER UPDATE OF status OR DELETE ON organizations
        FOR EACH ROW EXECUTE FUNCTION announce_organization('id')
    """)
    op.execute("""
        CREATE TRIGGER projects_announce AFTER UPDATE OF archived_at OR DELETE ON projects
        FOR EACH ROW EXECUTE FUNCTION announce_organization('organization_id')
    """)
