"""What happens by itself, and when: every slice's schedules, wired in one place. Most of them only ask for jobs."""

from tollgate.entrypoints import stripe_access
from tollgate.gateway import sessions
from tollgate.infra import idempotency, jobs
from tollgate.infra.database import Database
from tollgate.infra.jobs import Schedule
from tollgate.infra.settings import Settings
from tollgate.invoices import tasks as invoices
from tollgate.kit.clock import Clock
from tollgate.metering import service as metering
from tollgate.metering import tasks as metering_tasks
from tollgate.payments import tasks as payments
from tollgate.payments.stripe_client import StripeClient
from tollgate.rerating import tasks as rerating
from tollgate.statistics import tasks as statistics
from tollgate.webhooks import tasks as webhooks


def schedules(
    database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None = None
) -> list[Schedule]:
    """Everything that happens by itself."""
    return [
        *_books(database, clock, configured),
        *_housekeeping(database, clock),
        *_telling(database, clock),
        *_collecting(database, clock, configured, stripe),
        *([] if stripe is None else _at_stripe(database, clock)),
    ]


def _books(database: Database, clock: Clock, configured: Settings) -> list[Schedule]:
    """What moves money, or the figures about it."""

    async def ask_for_closings() -> None:
        await invoices.ask_for_due(database, clock, configured.invoice_grace)

    async def end_grants() -> None:
        await metering_tasks.end_grants(database, clock)

    async def ask_for_rerates() -> None:
        await rerating.ask_for_all(database)

    async def fold_usage() -> None:
        await metering_tasks.fold_usage(database)

    async def fold_statistics() -> None:
        await statistics.fold(database, clock)

    return [
        Schedule("month-close", "3,18,33,48 * * * *", ask_for_closings),
        Schedule("grants-end", "* * * * *", end_grants),
        Schedule("rerates", "* * * * * */5", ask_for_rerates),
        # Seconds after a quarter-hour began: a cut splits the rows of the one it is in, and there are hardly any yet.
        Schedule("usage", "*/15 * * * * 10", fold_usage),
        Schedule("statistics", "* * * * * */10", fold_statistics),
    ]


def _housekeeping(database: Database, clock: Clock) -> list[Schedule]:
    """What makes room, and drops what nobody can ask for any more."""

    async def keep_partitions_ready() -> None:
        async with database.write() as session:
            await metering.ensure_partitions(session, now=clock.now())

    async def drop_old_answers() -> None:
        async with database.write() as session:
            await idempotency.drop_before(session, clock.now() - idempotency.KEPT_FOR)

    async def forget_sessions() -> None:
        async with database.write() as session:
            await sessions.forget(session, now=clock.now())

    async def forget_failed_jobs() -> None:
        async with database.write() as session:
            await jobs.forget_failures(session)

    return [
        Schedule("partitions", "7 3 * * *", keep_partitions_ready),
        Schedule("idempotent-answers", "37 * * * *", drop_old_answers),
        Schedule("sessions", "23,53 * * * *", forget_sessions),
        Schedule("failed-jobs", "41 3 * * *", forget_failed_jobs),
    ]


def _telling(database: Database, clock: Clock) -> list[Schedule]:
    """What sees to it that customers' own servers are told of what happened."""

    async def ask_for_deliveries() -> None:
        await webhooks.ask_for_due(database, clock)

    async def drop_old_events() -> None:
        await webhooks.drop_old(database, clock)

    return [
        Schedule("webhooks", "* * * * * */5", ask_for_deliveries),
        Schedule("events", "11 4 * * *", drop_old_events),
    ]


def _collecting(database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None) -> list[Schedule]:
    """What happens by itself until invoices are paid; without Stripe, what is past due is told."""
    means = stripe_access.means(database, clock, configured, stripe)

    async def ask_for_collections() -> None:
        await payments.ask_for_due_collections(means)

    async def reconcile() -> None:
        await payments.reconcile(means)

    nightly = [] if stripe is None else [Schedule("reconciliation", "19 * * * *", reconcile)]
    return [Schedule("collections", "* * * * * */20", ask_for_collections), *nightly]


def _at_stripe(database: Database, clock: Clock) -> list[Schedule]:
    """What happens by itself where payments are set up."""

    async def ask_for_events() -> None:
        await payments.ask_for_due_events(database, clock)

    async def ask_for_top_ups() -> None:
        await payments.ask_for_due_top_ups(database, clock)

    async def forget_events() -> None:
        await payments.forget_events(database, clock)

    return [
        Schedule("stripe-events", "* * * * * */5", ask_for_events),
        Schedule("top-ups", "* * * * * */30", ask_for_top_ups),
        Schedule("stripe-events-forget", "41 4 * * *", forget_events),
    ]
