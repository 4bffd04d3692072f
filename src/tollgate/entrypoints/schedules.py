"""What happens by itself, and when: every slice's scheduled jobs, wired in one place."""

from tollgate.entrypoints import stripe_access
from tollgate.gateway import sessions
from tollgate.infra import idempotency, jobs, names
from tollgate.infra.database import Database
from tollgate.infra.http_client import HttpClient
from tollgate.infra.jobs import Job, Schedule
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.infra.settings import Settings
from tollgate.invoices import tasks as invoices
from tollgate.kit.clock import Clock
from tollgate.metering import service as metering
from tollgate.metering import tasks as grants
from tollgate.payments import tasks as payments
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient
from tollgate.rerating import tasks as rerating
from tollgate.statistics import tasks as statistics
from tollgate.webhooks import tasks as webhooks
from tollgate.webhooks.tasks import Post


def schedules(
    database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None = None
) -> list[Schedule]:
    """Everything that happens by itself."""
    return [
        *_books(database, clock, configured),
        *_housekeeping(database, clock),
        *_telling(database, clock, configured),
        *_collecting(database, clock, configured, stripe),
        *([] if stripe is None else _at_stripe(database, clock, configured, stripe)),
    ]


def _books(database: Database, clock: Clock, configured: Settings) -> list[Schedule]:
    """What moves money, or the figures about it."""

    async def ask_for_closings() -> None:
        await invoices.ask_for_due(database, clock, configured.invoice_grace)

    async def end_grants() -> None:
        await grants.end_grants(database, clock)

    async def go_on_with_rerates() -> None:
        await rerating.go_on_with_all(database, clock)

    async def fold_statistics() -> None:
        await statistics.fold(database, clock)

    return [
        Schedule("month-close", "3,18,33,48 * * * *", ask_for_closings),
        Schedule("grants-end", "* * * * *", end_grants),
        Schedule("rerates", "* * * * * */5", go_on_with_rerates),
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


def _telling(database: Database, clock: Clock, configured: Settings) -> list[Schedule]:
    """What tells customers' own servers of what happened."""
    reach = Reach(names.resolve, private=configured.allow_private_webhooks)
    post = Post(database, clock, HttpClient(reach), Seal(configured))

    async def deliver_webhooks() -> None:
        await webhooks.deliver_due(post)

    async def drop_old_events() -> None:
        await webhooks.drop_old(database, clock)

    return [
        Schedule("webhooks", "* * * * * */5", deliver_webhooks),
        Schedule("events", "11 4 * * *", drop_old_events),
    ]


def _collecting(database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None) -> list[Schedule]:
    """What happens by itself until invoices are paid; without Stripe, what is past due is told."""
    means = stripe_access.means(database, clock, configured, stripe)

    async def collect() -> None:
        await payments.collect_due(means)

    async def reconcile() -> None:
        await payments.reconcile(means)

    nightly = [] if stripe is None else [Schedule("reconciliation", "19 * * * *", reconcile)]
    return [Schedule("collections", "* * * * * */20", collect), *nightly]


def _at_stripe(database: Database, clock: Clock, configured: Settings, stripe: StripeClient) -> list[Schedule]:
    """What happens by itself where payments are set up."""
    at = Surroundings(database, stripe, clock, stripe_access.policy(configured))

    async def process_events() -> None:
        await payments.process_due_events(at)

    async def look_after_top_ups() -> None:
        await payments.look_after_due_top_ups(at)

    async def forget_events() -> None:
        await payments.forget_events(database, clock)

    return [
        Schedule("stripe-events", "* * * * * */5", process_events),
        Schedule("top-ups", "* * * * * */30", look_after_top_ups),
        Schedule("stripe-events-forget", "41 4 * * *", forget_events),
    ]


def queued(database: Database, clock: Clock, configured: Settings) -> list[Job]:
    """Everything that is done because something else asked for it."""

    async def close_due(subject: str) -> None:
        await invoices.close_due(database, clock, configured.invoice_grace, subject)

    return [Job(invoices.CLOSE_JOB, close_due, concurrency=2)]
