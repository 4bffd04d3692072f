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
