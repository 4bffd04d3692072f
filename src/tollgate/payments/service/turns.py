"""Writing a collection down, by whoever has it at the moment and by nobody else."""

from dataclasses import replace
from datetime import datetime

from tollgate.infra.database import WriteSession
from tollgate.payments.states import Collection
from tollgate.payments.store import collections as store

_ERROR_LENGTH = 500


class Overtaken(Exception):
    """Somebody else has written the collection down meanwhile."""


async def write(
    session: WriteSession, changed: Collection, *, now: datetime, last_error: str | None = None
) -> Collection:
    """Write the collection down; answers its next version.

    Raises:
        Overtaken: it is not the last version any more.
    """
    error = changed.last_error if last_error is None else last_error[:_ERROR_LENGTH]
    saved = await store.save(session, replace(changed, updated_at=now, last_error=error))
    if saved is None:
        raise Overtaken
    return saved
