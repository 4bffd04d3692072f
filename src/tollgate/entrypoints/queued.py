"""What is done because a transaction asked for it: every slice's jobs, and how many of each a worker does at once.

No kind waits for another's places, so what is slow or away is in the way of its own kind alone.
"""

from tollgate.entrypoints import stripe_access
from tollgate.infra import names
from tollgate.infra.database import Database
from tollgate.infra.http_client import HttpClient
from tollgate.infra.jobs import Job
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.infra.settings import Settings
from tollgate.invoices import tasks as invoices
from tollgate.kit.clock import Clock
from tollgate.payments import tasks as payments
from tollgate.payments.service import waking
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient
from tollgate.rerating import service as rerates
from tollgate.rerating import tasks as rerating
from tollgate.webhooks import service as deliveries
from tollgate.webhooks.tasks import Courier, Post


def queued(database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None = None) -> list[Job]:
    """Everything that is asked for."""
    return [
        *_books(database, clock, configured),
        *_collecting(database, clock, configured, stripe),
        *([] if stripe is None else _at_stripe(database, clock, configured, stripe)),
        _telling(database, clock, configured),
    ]


def _books(database: Database, clock: Clock, configured: Settings) -> list[Job]:
    """What reckons with records."""

    async def close_due(subject: str) -> None:
        await invoices.close_due(database, clock, configured.invoice_grace, subject)

    async def go_on_with_rerate(subject: str) -> None:
        await rerating.go_on_for_a_while(database, clock, subject)

    return [
        Job(invoices.CLOSE_JOB, close_due, concurrency=2),
        Job(rerates.GO_ON_JOB, go_on_with_rerate, concurrency=2, seconds_max=1800),
    ]


def _telling(database: Database, clock: Clock, configured: Settings) -> Job:
    """What tells customers' own servers. One turn takes what is due, and others may wait for their last answers."""
    reach = Reach(names.resolve, private=configured.allow_private_webhooks)
    courier = Courier(Post(database, clock, HttpClient(reach), Seal(configured)))

    async def deliver(_subject: str) -> None:
        await courier.deliver()

    return Job(deliveries.DELIVER_JOB, deliver, concurrency=4)


def _collecting(database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None) -> list[Job]:
    """What is done until invoices are paid; without Stripe, what is past due is told."""
    means = stripe_access.means(database, clock, configured, stripe)

    async def collect(subject: str) -> None:
        await payments.collect(means, subject)

    async def follow_refund(subject: str) -> None:
        await payments.follow_refund(means, subject)

    refunds = [] if stripe is None else [Job(waking.REFUND_JOB, follow_refund, concurrency=2)]
    return [Job(waking.COLLECT_JOB, collect, concurrency=8), *refunds]


def _at_stripe(database: Database, clock: Clock, configured: Settings, stripe: StripeClient) -> list[Job]:
    """What is done where payments are set up."""
    at = Surroundings(database, stripe, clock, stripe_access.policy(configured))

    async def process_event(event_id: str) -> None:
        await payments.process_event(at, event_id)

    async def look_after_top_up(subject: str) -> None:
        await payments.look_after_top_up(at, subject)

    return [
        Job(waking.EVENT_JOB, process_event, concurrency=8),
        Job(waking.TOP_UP_JOB, look_after_top_up, concurrency=4),
    ]
