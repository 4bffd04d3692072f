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
        sa.Column("withdrawn_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="price_adjustments_organization"),
        sa.ForeignKeyConstraint(["model"], ["models.slug"], name="price_adjustments_model"),
        sa.ForeignKeyConstraint(["provider"], ["providers.slug"], name="price_adjustments_provider"),
        sa.CheckConstraint("effective_from < effective_to", name="price_adjustments_period"),
        sa.CheckConstraint("percent BETWEEN -100 AND 1000", name="price_adjustments_percent"),
        sa.CheckConstraint("ended_at IS NULL OR effective_to IS NOT NULL", name="price_adjustments_ended"),
    )
    op.execute("""
        ALTER TABLE price_adjustments ADD CONSTRAINT price_adjustments_no_overlap EXCLUDE USING gist (
            COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid) WITH =,
            COALESCE(model, '') WITH =,
            COALESCE(provider, '') WITH =,
            tstzrange(effective_from, effective_to) WITH &&
        ) WHERE (withdrawn_at IS NULL)
    """)
    op.execute("""
        CREATE TRIGGER price_adjustments_revision AFTER INSERT OR UPDATE OR DELETE ON price_adjustments
        FOR EACH STATEMENT EXECUTE FUNCTION move_catalogue_revision()
    """)


def _refuse_rewriting() -> None:
    """An adjustment is superseded, ended or withdrawn as 0012 has it of prices; nothing else about it ever changes."""
    op.execute("""
        CREATE FUNCTION refuse_price_adjustment_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            allowed price_adjustments := OLD;
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.withdrawn_at IS NULL THEN
                IF NEW.withdrawn_at IS NOT NULL THEN
                    -- Withdrawn, before it adjusted the price of any call.
                    IF OLD.effective_from > clock_timestamp() THEN
                        allowed.withdrawn_at := NEW.withdrawn_at;
                    END IF;
                ELSIF OLD.effective_to IS NULL THEN
                    -- Superseded, or ended by hand.
                    allowed.effective_to := NEW.effective_to;
                    allowed.ended_at := NEW.ended_at;
                ELSIF OLD.ended_at IS NULL AND OLD.effective_to > now() AND EXISTS (
                    SELECT FROM price_adjustments AS withdrawn
                    WHERE withdrawn.organization_id IS NOT DISTINCT FROM OLD.organization_id
                        AND withdrawn.model IS NOT DISTINCT FROM OLD.model
                        AND withdrawn.provider IS NOT DISTINCT FROM OLD.provider
                        AND withdrawn.withdrawn_at IS NOT NULL
                        AND withdrawn.effective_from = OLD.effective_to
                ) THEN
                    -- What superseded it was withdrawn, so it lasts until the next one begins.
                    allowed.effective_to := (
                        SELECT min(later.effective_from) FROM price_adjustments AS later
                        WHERE later.organization_id IS NOT DISTINCT FROM OLD.organization_id
                            AND later.model IS NOT DISTINCT FROM OLD.model
                            AND later.provider IS NOT DISTINCT FROM OLD.provider
                            AND later.withdrawn_at IS NULL
                            AND later.effective_from > OLD.effective_from
                    );
                END IF;
                IF NEW IS DISTINCT FROM OLD AND NEW IS NOT DISTINCT FROM allowed THEN
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
