"""Slugs: the form of the names of models and providers, which the catalogue gives out and allowlists refer to."""

import re

MODEL_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,127}")
"""`author/name`. Colons are left free: in a request one pins the provider."""

PROVIDER_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
