"""Metering: one call's money, from hold to settlement.

Owns holds, limits as they fill, the records of calls and attempts, and the rollups that reports and invoices are made
of. Does not own prices (pricing), balances (ledger) or what a limit is set to (accounts). Do not confuse a hold, which
bounds a call before it is made, with its charge, which is what it cost.
"""
