"""Statistics: how endpoints have been doing: first-token latency, throughput and uptime, from settled calls alone.

Owns the samples that settling leaves and the buckets they are folded into. Figures here are telemetry: floats are
fine, and nothing here is money. Not to be confused with `reports`, which sum what was used and what it cost.
"""
