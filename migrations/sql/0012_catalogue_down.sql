-- Undoes 0012_catalogue.sql, last part first.

DROP TABLE catalogue_changes;
