"""Tollgate: a gateway for language-model calls that is also the system of record for what they cost."""
