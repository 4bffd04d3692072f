-- Undoes 0012_catalogue.sql, last part first.

UPDATE models SET input_modalities = '{text}' WHERE input_modalities = '{}';
UPDATE models SET output_modalities = '{text}' WHERE output_modalities = '{}';

DROP TABLE model_aliases;
ALTER TABLE models DROP COLUMN deprecated_at, DROP COLUMN retires_at, DROP COLUMN replaced_by;

DROP TABLE catalogue_changes;
