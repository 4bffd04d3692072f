"""Identity: where fresh ids and secrets get their entropy."""

import os
import secrets
from datetime import datetime
from uuid import UUID

from asyncpg.pgproto import pgproto

from tollgate.kit import ids

_ID_BYTES = 10
_IDS = 512
_DRAWN: list[bytes] = []
"""Entropy for ids to come. To ask the kernel for each of them takes half as long as all the rest."""
# Two processes must not mint the same ids.
os.register_at_fork(after_in_child=_DRAWN.clear)


def new_id(now: datetime) -> UUID:
    """A fresh UUIDv7 minted at `now`: of the kind that the database's driver makes, in C, and takes as it is."""
    fresh: UUID = pgproto.UUID(ids.uuid7_bytes(now, int.from_bytes(_entropy())))
    return fresh


def _entropy() -> bytes:
    """Ten fresh random bytes. Another thread may take the last ones that were drawn."""
    try:
        return _DRAWN.pop()
    except IndexError:
        drawn = os.urandom(_ID_BYTES * _IDS)
        _DRAWN.extend(drawn[start : start + _ID_BYTES] for start in range(_ID_BYTES, len(drawn), _ID_BYTES))
        return drawn[:_ID_BYTES]


def new_secret() -> bytes:
    """256 fresh random bits."""
    return secrets.token_bytes(32)
