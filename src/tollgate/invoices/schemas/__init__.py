"""The API shapes of invoices."""
