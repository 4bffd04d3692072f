"""What happens by itself at Stripe: events are acted on, top-ups looked after, invoices collected, books compared.

Each is one row, done by its id.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from tollgate.infra import telemetry
from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.kit.ids import InvoiceId, OrganizationId, TopUpId
from tollgate.payments.model import StripeError
from tollgate.payments.service import collecting, handlers, inbox, reconciling, returning, sweeping, top_ups
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.states import Reconciliation

_MOST = 100

_log = structlog.get_logger(__name__)


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


async def due_collections(means: Means) -> Sequence[tuple[OrganizationId, InvoiceId]]:
    """The invoices to do something about now, the longest due first."""
    return await sweeping.due_collections(means)


async def collect(means: Means, organization_id: OrganizationId, invoice_id: InvoiceId) -> None:
    """Do what is to be done now to collect an invoice; nothing, if that is nothing or somebody else is at it."""
    await collecting.collect(means, organization_id=organization_id, invoice_id=invoice_id)


async def due_refunds(means: Means) -> Sequence[tuple[OrganizationId, UUID]]:
    """The refunds to ask Stripe about now, the longest due first."""
    return await sweeping.due_refunds(means)


async def follow_refund(means: Means, organization_id: OrganizationId, refund_id: UUID) -> None:
    """Ask Stripe for a refund, or what became of it."""
    await returning.go_on(means, organization_id=organization_id, refund_id=refund_id)


async def collect_due(means: Means) -> int:
    """Do everything that is due of collections and refunds, one after another; answers how much it was."""
    swept = await sweeping.sweep(means)
    return len(swept.collections) + len(swept.refunds)


async def reconcile(means: Means) -> Reconciliation | None:
    """Compare our books with Stripe's once a day, make good what is late, and keep the report; `None` if it is not due.

    If Stripe does not answer, it stays due.
    """
    if not await reconciling.is_due(means):
        return None
    try:
        return await reconciling.reconcile(means)
    except StripeError as error:
        telemetry.STRIPE_FAILURES.labels(type(error).__name__).inc()
        _log.warning("reconciliation.put_off", error=type(error).__name__, reason=error.message)
        return None
