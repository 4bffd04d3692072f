"""What happens by itself at Stripe: events are acted on, top-ups looked after, invoices collected, books compared.

Each is one row and a job of its own: asked for where the row is made or woken, and again by a schedule for as long as
the row is due, because it is to be tried again or whoever was at it is gone. The row alone says whether it is due.
"""

import structlog

from tollgate.infra import jobs, telemetry
from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.kit.ids import InvoiceId, TopUpId
from tollgate.payments.model import StripeError
from tollgate.payments.service import collecting, handlers, inbox, reconciling, returning, sweeping, top_ups, waking
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.states import Reconciliation

_MOST = 100

_log = structlog.get_logger(__name__)


async def ask_for_due_events(database: Database, clock: Clock) -> None:
    """Ask for a job for every event that is due: to be tried again, or left by a worker that is gone."""
    async with database.read() as session:
        due = await inbox.due(session, now=clock.now(), count=_MOST)
    async with database.write() as session:
        await jobs.enqueue_all(session, job=waking.EVENT_JOB, subjects=due)


async def process_event(at: Surroundings, event_id: str) -> bool:
    """Act on one event, if that is due; false if it has to be tried again later."""
    return await inbox.process(at, handlers.HANDLERS, event_id=event_id)


async def ask_for_due_top_ups(database: Database, clock: Clock) -> None:
    """Ask for a job for every top-up that is due: pages that are not open yet, and those nothing was heard of."""
    async with database.read() as session:
        due = await top_ups.due(session, now=clock.now(), count=_MOST)
    async with database.write() as session:
        await waking.ask(session, waking.TOP_UP_JOB, due)


async def look_after_top_up(at: Surroundings, subject: str) -> None:
    """Ask Stripe how a top-up is doing, and do what follows, if that is due."""
    owner, row = waking.row_of(waking.TOP_UP_JOB, subject)
    top_up_id = TopUpId(row)
    async with at.database.read() as session:
        is_due = await top_ups.is_due(session, organization_id=owner, top_up_id=top_up_id, now=at.clock.now())
    if is_due:
        await top_ups.look_after(at, organization_id=owner, top_up_id=top_up_id)


async def forget_events(database: Database, clock: Clock) -> None:
    """Drop events that were acted on and cannot come again."""
    async with database.write() as session:
        await inbox.forget(session, now=clock.now())


async def ask_for_due_collections(means: Means) -> None:
    """Ask for a job for every invoice and every refund to do something about now."""
    await sweeping.tell_of_wait(means)
    collections, refunds = await sweeping.due_collections(means), await sweeping.due_refunds(means)
    async with means.database.write() as session:
        await waking.ask(session, waking.COLLECT_JOB, collections)
    async with means.database.write() as session:
        await waking.ask(session, waking.REFUND_JOB, refunds)


async def collect(means: Means, subject: str) -> None:
    """Do what is to be done now to collect an invoice; nothing, if that is nothing or somebody else is at it."""
    owner, row = waking.row_of(waking.COLLECT_JOB, subject)
    with sweeping.left_for_later(row):
        await collecting.collect(means, organization_id=owner, invoice_id=InvoiceId(row))


async def follow_refund(means: Means, subject: str) -> None:
    """Ask Stripe for a refund, or what became of it; nothing, if that is not due or somebody else is at it."""
    owner, row = waking.row_of(waking.REFUND_JOB, subject)
    with sweeping.left_for_later(row):
        await returning.go_on(means, organization_id=owner, refund_id=row)


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
