"""Use cases of webhooks: tell of what happened."""

from tollgate.infra.database import WriteSession
from tollgate.webhooks import store
from tollgate.webhooks.model import Event


async def emit(session: WriteSession, event: Event) -> None:
    """Tell of the event, if this transaction commits; telling of it again changes nothing."""
    await store.add_event(session, event)
