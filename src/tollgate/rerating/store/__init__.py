"""The SQL of re-rates."""
