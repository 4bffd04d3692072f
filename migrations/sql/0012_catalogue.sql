-- What was done to catalogue and prices: written in the transaction that does it, and never touched again.

CREATE TABLE catalogue_changes (
    id      uuid PRIMARY KEY,
    at      timestamptz NOT NULL,
    by      uuid,                 -- the operator's key; null for the first start, the command line and imports
    address text,                 -- where from; null where there was no connection
    action  text NOT NULL,
    kind    text NOT NULL,
    subject text NOT NULL,
    before  jsonb,
    after   jsonb
);
-- "What became of this one?"
CREATE INDEX catalogue_changes_subject ON catalogue_changes (kind, subject, id);
CREATE TRIGGER catalogue_changes_are_append_only BEFORE UPDATE OR DELETE ON catalogue_changes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER catalogue_changes_are_never_truncated BEFORE TRUNCATE ON catalogue_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The life of slugs: a model is deprecated, retires, and is replaced; and has other names.

ALTER TABLE models
    ADD COLUMN deprecated_at timestamptz,
    ADD COLUMN retires_at timestamptz,
    ADD COLUMN replaced_by text CONSTRAINT models_replaced_by REFERENCES models (slug),
    ADD CONSTRAINT models_replaced_by_another CHECK (replaced_by <> slug),
    ADD CONSTRAINT models_retire_once_deprecated CHECK (deprecated_at <= retires_at);

CREATE TABLE model_aliases (
    slug       text PRIMARY KEY,
    model      text NOT NULL CONSTRAINT model_aliases_model REFERENCES models (slug),
    created_at timestamptz NOT NULL,
    CONSTRAINT model_aliases_slug CHECK (slug ~ '^[^/:]+/[^/:]+$')
);
CREATE TRIGGER model_aliases_revision AFTER INSERT OR UPDATE OR DELETE ON model_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION move_catalogue_revision();

-- What a model reads and writes is not known of those that only an import has told of: it took them to read and write
-- text, and whatever else had a price. Those that an operator has described since, or priced, stay as they are.

CREATE FUNCTION pg_temp.imported_modalities(model text, direction text) RETURNS text[] LANGUAGE sql AS $$
    SELECT ARRAY['text'] || array_agg(sort.modality ORDER BY sort.modality DESC) FILTER (WHERE EXISTS (
        SELECT FROM endpoints AS e
        JOIN price_versions AS v ON v.endpoint_id = e.id
        JOIN price_items AS i ON i.price_version_id = v.id
        WHERE e.model = imported_modalities.model AND i.kind = direction || '_' || sort.modality))
    FROM (VALUES ('image'), ('audio')) AS sort (modality)
$$;
CREATE TEMPORARY TABLE imported ON COMMIT DROP AS
    SELECT e.model AS slug FROM endpoints AS e JOIN price_versions AS v ON v.endpoint_id = e.id
    GROUP BY e.model HAVING bool_and(v.source = 'import');
UPDATE models SET input_modalities = '{}'
    WHERE slug IN (SELECT slug FROM imported) AND input_modalities = pg_temp.imported_modalities(slug, 'input');
UPDATE models SET output_modalities = '{}'
    WHERE slug IN (SELECT slug FROM imported) AND output_modalities = pg_temp.imported_modalities(slug, 'output');
DROP TABLE imported;
DROP FUNCTION pg_temp.imported_modalities;

-- A version that was published for later can be withdrawn until it begins. It is kept, as is everything published: a
-- call that was charged by it at the last moment still finds it. What it would have superseded goes on.

-- An organization's own can be ended by hand as well, at an instant that stays: then the general price is charged again.

ALTER TABLE price_versions
    ADD COLUMN withdrawn_at timestamptz,
    ADD COLUMN ended_at timestamptz,
    ADD CONSTRAINT price_versions_ended CHECK (
        ended_at IS NULL OR (organization_id IS NOT NULL AND effective_to IS NOT NULL)
    );
ALTER TABLE price_versions DROP CONSTRAINT price_versions_no_overlap;
ALTER TABLE price_versions ADD CONSTRAINT price_versions_no_overlap EXCLUDE USING gist (
    endpoint_id WITH =,
    COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid) WITH =,
    service_tier WITH =,
    tstzrange(effective_from, effective_to) WITH &&
) WHERE (withdrawn_at IS NULL);

CREATE OR REPLACE FUNCTION refuse_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed price_versions := OLD;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.withdrawn_at IS NULL THEN
        IF NEW.withdrawn_at IS NOT NULL THEN
            -- Withdrawn, before it charged any call.
            IF OLD.effective_from > clock_timestamp() THEN
                allowed.withdrawn_at := NEW.withdrawn_at;
            END IF;
        ELSIF OLD.effective_to IS NULL THEN
            -- Superseded, or ended by hand.
            allowed.effective_to := NEW.effective_to;
            allowed.ended_at := NEW.ended_at;
        ELSIF OLD.ended_at IS NULL AND OLD.effective_to > now() AND EXISTS (
            SELECT FROM price_versions AS withdrawn
            WHERE withdrawn.endpoint_id = OLD.endpoint_id
                AND withdrawn.organization_id IS NOT DISTINCT FROM OLD.organization_id
                AND withdrawn.service_tier = OLD.service_tier
                AND withdrawn.withdrawn_at IS NOT NULL
                AND withdrawn.effective_from = OLD.effective_to
        ) THEN
            -- What superseded it was withdrawn, so it lasts until the next one begins.
            allowed.effective_to := (
                SELECT min(later.effective_from) FROM price_versions AS later
                WHERE later.endpoint_id = OLD.endpoint_id
                    AND later.organization_id IS NOT DISTINCT FROM OLD.organization_id
                    AND later.service_tier = OLD.service_tier
                    AND later.withdrawn_at IS NULL
                    AND later.effective_from > OLD.effective_from
            );
        END IF;
        IF NEW IS DISTINCT FROM OLD AND NEW IS NOT DISTINCT FROM allowed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'A published price is superseded, never edited' USING ERRCODE = 'restrict_violation';
END $$;
