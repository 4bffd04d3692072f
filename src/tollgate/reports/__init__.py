"""Reports: what was used and what is left, read-only.

Owns the views of usage, calls, credits, keys and the public catalogue, and their SQL over what metering and the ledger
recorded. Does not own a single row. Do not confuse usage (sums of rollups) with calls (the rows the sums are of); the
two are equal bit for bit.
"""
