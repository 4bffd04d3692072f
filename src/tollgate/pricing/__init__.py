"""What calls cost: dated price versions per endpoint, and the pure arithmetic from quantities to a charge.

Owns price versions, their history and rating. Does not own endpoints (catalog) or what is done with a charge (ledger,
metering). Do not confuse a unit price (what one unit, or a million, costs) with an amount (what a call cost).
"""
