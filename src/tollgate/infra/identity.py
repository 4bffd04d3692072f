"""Identity: where fresh ids and secrets get their entropy."""

import os
import secrets
from datetime import datetime
from uuid import UUID

from asyncpg.pgproto import pgproto

from tollgate.kit import ids


def new_id(now: datetime) -> UUID:
    """A fresh UUIDv7 minted at `now`.

    Of the database driver's own kind, which is a UUID like any other and many times as fast to hash, write and send.
    """
    return pgproto.UUID(ids.uuid7_bytes(now, int.from_bytes(os.urandom(10))))


def new_secret() -> bytes:
    """256 fresh random bits."""
    return secrets.token_bytes(32)
