"""Webhooks: what happened to an organization is told to whoever wants to hear of it.

Owns events, the endpoints they are sent to, and their delivery. An event is written in the very transaction that makes
it true, so none is told of what did not happen, and none that happened is lost. Knows nothing of what events mean.
"""
