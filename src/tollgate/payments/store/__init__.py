"""The SQL of payments, a module for each table."""
