"""The use cases of invoices: drafting and closing, paying, and taking back."""
