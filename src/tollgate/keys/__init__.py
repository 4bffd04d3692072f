"""Keys: mint, recognise, look up, revoke; and what the bearer of a key may do.

Owns the API keys of all three kinds and the in-process ring that authenticates them. Does not own what a key has used
(metering) nor the limits set on it (accounts).
"""
