"""What can be called, and where: models, providers, and endpoints (a model at a provider).

Owns capabilities, data policies and the reference to a provider's credential. Does not own prices (pricing), the health
of endpoints (health) or how they have been doing (statistics). Do not confuse a model's slug (ours, `author/name`) with
the `upstream_model` by which the provider knows it.
"""
