"""Identity: where fresh ids and secrets get their entropy."""

import os
import secrets
from datetime import datetime
from uuid import UUID

from tollgate.kit import ids


def new_id(now: datetime) -> UUID:
    """A fresh UUIDv7 minted at `now`."""
    return ids.uuid7(now, int.from_bytes(os.urandom(10)))


def new_secret() -> bytes:
    """256 fresh random bits."""
    return secrets.token_bytes(32)
