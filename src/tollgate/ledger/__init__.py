"""The ledger: append-only double entry.

Owns transfers, the cached balances they move, and credit grants. Does not own prices, calls or invoices: it knows
them only as causes. Do not confuse `unbilled` (used, not yet on an invoice) with `receivable` (invoiced, not yet paid).
"""
