"""Invoices: one calendar month of an organization's usage becomes one numbered document that never changes.

Owns drafts, closing, rounding, numbering and the explanation of every line. Does not own the records (metering), the
balances (ledger) or the collecting of money (payments). Do not confuse a period (when calls were accepted) with a cut
(what was recorded when the invoice was made): an invoice names both, and what arrives later is late usage on the next.
"""
