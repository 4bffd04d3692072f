"""Health: whether endpoints are in a condition to be called, as every process of the installation has seen them.

Owns circuits: what opens them, when they are tried again, and how processes tell each other. It does not own figures of
how endpoints have been doing, which are `statistics`, nor the order in which endpoints are tried, which is `gateway`.
"""
