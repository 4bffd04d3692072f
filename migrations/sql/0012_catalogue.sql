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
