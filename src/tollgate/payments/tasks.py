"""What happens by itself at Stripe: events are acted on, top-ups looked after. Each is one row, done by its id."""

from collections.abc import Sequence

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId, TopUpId
from tollgate.payments.service import handlers, inbox, top_ups
from tollgate.payments.service.surroundings import Surroundings

_MOST = 100


async def due_events(database: Database, clock: Clock) -> Sequence[str]:
    """The ids of events to act on now."""
    async with database.read() as session:
        return await inbox.due(session, now=clock.now(), count=_MOST)


async def process_event(at: Surroundings, event_id: str) -> bool:
    """Act on one event; false if it has to be tried again later."""
    return await inbox.process(at, handlers.HANDLERS, event_id=event_id)


async def process_due_events(at: Surroundings) -> int:
    """Act on every event that is due, one after another; answers how many there were."""
    due = await due_events(at.database, at.clock)
    for event_id in due:
        await process_event(at, event_id)
    return len(due)


async def due_top_ups(database: Database, clock: Clock) -> Sequence[tuple[OrganizationId, TopUpId]]:
    """The top-ups to look after now: pages that are not open yet, and those of which nothing was heard."""
    async with database.read() as session:
        return await top_ups.due(session, now=clock.now(), count=_MOST)


async def look_after_top_up(at: Surroundings, organization_id: OrganizationId, top_up_id: TopUpId) -> None:
    """Ask Stripe how a top-up is doing, and do what follows."""
    await top_ups.look_after(at, organization_id=organization_id, top_up_id=top_up_id)


async def look_after_due_top_ups(at: Surroundings) -> int:
    """Look after every top-up that is due, one after another; answers how many there were."""
    due = await due_top_ups(at.database, at.clock)
    for organization_id, top_up_id in due:
        await look_after_top_up(at, organization_id, top_up_id)
    return len(due)


async def forget_events(database: Database, clock: Clock) -> None:
    """Drop events that were acted on and cannot come again."""
    async with database.write() as session:
        await inbox.forget(session, now=clock.now())
