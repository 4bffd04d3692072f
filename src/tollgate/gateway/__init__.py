"""The gateway: the hot path of one call, from its API key to its settlement.

Owns what clients and providers speak, the choice of endpoints, and the way to them. Knows nothing of invoices,
payments or reports. Do not confuse a protocol, which clients speak, with a provider's format, which upstreams speak.
"""
