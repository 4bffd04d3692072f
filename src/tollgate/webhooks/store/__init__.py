"""All SQL of webhooks, but for `emit_event()`, which functions of the database call too (migrations/sql)."""
