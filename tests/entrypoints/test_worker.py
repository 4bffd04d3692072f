"""The worker: everything it does by itself, done once on an installation in which nothing ever happened."""

from datetime import timedelta

import asyncpg
from structlog.testing import capture_logs

from tollgate.entrypoints.schedules import schedules
from tollgate.infra.database import Database
from tollgate.infra.settings import Settings
from tollgate.infra.tables import IdempotentAnswerRow
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import PLATFORM
from tollgate.payments.stripe_client import StripeClient


async def test_every_job_can_be_done_on_an_empty_installation_and_says_nothing(
    database: Database, clock: FixedClock, database_url: str
) -> None:
    stripe = StripeClient("sk_test_unasked")
    everything = schedules(database, clock, Settings(database_url), stripe)

    with capture_logs() as logged:
        for schedule in everything:
            await schedule.job()
    await stripe.close()

    # Nobody answers for Stripe here, which a person can act on; nothing else is told.
    assert [each["event"] for each in logged] == ["reconciliation.put_off"]
    assert len({schedule.name for schedule in everything}) == len(everything) > 1


async def test_idempotent_answers_are_kept_for_two_days(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> None:
    async with database.write() as session:
        session.add(
            IdempotentAnswerRow(
                organization_id=PLATFORM, slot=b"slot", fingerprint=b"", answer=b"", created_at=clock.now()
            )
        )
    jobs = {schedule.name: schedule.job for schedule in schedules(database, clock, Settings(database_url))}

    left = []
    for passed in (timedelta(), timedelta(hours=48), timedelta(seconds=1)):
        clock.at += passed
        await jobs["idempotent-answers"]()
        left.append(await pool.fetchval("SELECT count(*) FROM idempotent_answers"))

    assert left == [1, 1, 0]
