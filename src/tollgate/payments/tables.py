"""Tables of payments."""

from tollgate.payments import collection_tables

__all__ = ["collection_tables"]
