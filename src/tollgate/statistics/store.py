"""All SQL of statistics."""
