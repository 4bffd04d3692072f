-- Undoes 0012_catalogue.sql, last part first. Withdrawn versions cannot be told from others without their column, and
-- they overlap: those are gone for good.

DROP TRIGGER price_versions_immutable ON price_versions;
DROP TRIGGER price_items_immutable ON price_items;
DELETE FROM price_items USING price_versions AS v WHERE v.id = price_version_id AND v.withdrawn_at IS NOT NULL;
DELETE FROM price_versions WHERE withdrawn_at IS NOT NULL;
ALTER TABLE price_versions DROP CONSTRAINT price_versions_no_overlap;
ALTER TABLE price_versions DROP CONSTRAINT price_versions_ended;
ALTER TABLE price_versions DROP COLUMN withdrawn_at, DROP COLUMN ended_at;
ALTER TABLE price_versions ADD CONSTRAINT price_versions_no_overlap EXCLUDE USING gist (
    endpoint_id WITH =,
    COALESCE(organization_id, '00000000-0000-0000-0000-000000000000'::uuid) WITH =,
    service_tier WITH =,
    tstzrange(effective_from, effective_to) WITH &&
);
CREATE OR REPLACE FUNCTION refuse_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER price_versions_immutable BEFORE UPDATE OR DELETE ON price_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_price_change();
CREATE TRIGGER price_items_immutable BEFORE UPDATE OR DELETE ON price_items
    FOR EACH ROW EXECUTE FUNCTION refuse_item_change();

UPDATE models SET input_modalities = '{text}' WHERE input_modalities = '{}';
UPDATE models SET output_modalities = '{text}' WHERE output_modalities = '{}';

DROP TABLE model_aliases;
ALTER TABLE models DROP COLUMN deprecated_at, DROP COLUMN retires_at, DROP COLUMN replaced_by;

DROP TABLE catalogue_changes;
