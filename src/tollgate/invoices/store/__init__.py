"""All SQL of invoices."""
