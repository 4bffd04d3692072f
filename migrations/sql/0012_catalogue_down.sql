-- Undoes 0012_catalogue.sql, last part first.

DROP TABLE model_aliases;
ALTER TABLE models DROP COLUMN deprecated_at, DROP COLUMN retires_at, DROP COLUMN replaced_by;

DROP TABLE catalogue_changes;
