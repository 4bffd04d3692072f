"""Discounts and markups on general prices, dated and never edited, and policies of where calls may go."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013_terms"
down_revision = "0012_catalogue"
branch_labels = None
depends_on = None

POLICED = ("organizations", "api_keys")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_price_adjustments()
    _refuse_rewriting()
    _store_policies()
    _announce_organizations("status, routing")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _announce_organizations("status")
    for table in POLICED:
        op.drop_column(table, "routing")
    op.drop_table("price_adjustments")
    op.execute("DROP FUNCTION refuse_price_adjustment_change")


def _create_price_adjustments() -> None:
    op.create_table(
        "price_adjustments",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Uuid),
        sa.Column("model", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("percent", sa.Numeric(8, 4), nullable=False),
        sa.Column("effective_from", INSTANT, nullable=False),
        sa.Column("effective_to", INSTANT),
        sa.Column("published_at", INSTANT, nullable=False),
        sa.Column("published_by", sa.Uuid),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="price_adjustments_organization"),
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="price_adjustments_model"),
        sa.ForeignKeyConstraint(["provider"], ["providers.slug"], name="price_adjustments_provider"),
        sa.CheckConstraint("effective_from < effective_to", name="price_adjustments_period"),
        sa.CheckConstraint("percent BETWEEN -100 AND 1000", name="price_adjustments_percent"),
    )
    op.execute("""
        ALTER TABLE price_adjustments ADD CONSTRAINT price_adjustments_no_overlap EXCLUDE USING gist (
            COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid) WITH =,
            COALESCE(model, '') WITH =,
            COALESCE(provider, '') WITH =,
            tstzrange(effective_from, effective_to) WITH &&
        )
    """)
    op.execute("""
        CREATE TRIGGER price_adjustments_revision AFTER INSERT OR UPDATE OR DELETE ON price_adjustments
        FOR EACH STATEMENT EXECUTE FUNCTION move_catalogue_revision()
    """)


def _refuse_rewriting() -> None:
    """An adjustment may be given an end once; nothing else about it ever changes."""
    op.execute("""
        CREATE FUNCTION refuse_price_adjustment_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            ended price_adjustments := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.effective_to IS NULL AND NEW.effective_to IS NOT NULL THEN
                ended.effective_to := NEW.effective_to;
                IF NEW IS NOT DISTINCT FROM ended THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'A published adjustment is superseded, never edited' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER price_adjustments_immutable BEFORE UPDATE OR DELETE ON price_adjustments
        FOR EACH ROW EXECUTE FUNCTION refuse_price_adjustment_change()
    """)


def _store_policies() -> None:
    """A policy is null where there is none. Changes of a key are announced already, whatever they are."""
    for table in POLICED:
        op.add_column(table, sa.Column("routing", JSONB))
        op.create_check_constraint(f"{table}_routing", table, "jsonb_typeof(routing) = 'object'")


def _announce_organizations(columns: str) -> None:
    op.execute("DROP TRIGGER organizations_announce ON organizations")
    op.execute(f"""
        CREATE TRIGGER organizations_announce AFTER UPDATE OF {columns} OR DELETE ON organizations
        FOR EACH ROW EXECUTE FUNCTION announce_organization('id')
    """)
