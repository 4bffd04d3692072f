"""Re-rating: what calls of a past time would have cost at corrected prices, and the adjustments that make it so.

Owns re-rates, their measurements and what was applied of them. Does not own the records (metering), the prices that
charge calls (pricing) or the adjustments it posts (ledger). Do not confuse a corrected price with a published one: it
charges no call, and no published version, call or invoice changes by it.
"""
