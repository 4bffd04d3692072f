"""Jobs that are woken: what makes something due wakes any worker, each thing is done once, nobody is in the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest
from tests.conftest import NOON, a_copy
from tests.infra.test_job_queue import HASTY
from tests.invoices.builders import AFTER, Books
from tests.payments.builders import Desk
from tests.payments.stripe_double import SECRET_KEY, a_stripe
from tests.webhooks.post_office import KEY, PostOffice, states_of
from tests.webhooks.receiver import Receiver, dropping, receiver, saying

from tollgate.entrypoints.queued import queued
from tollgate.entrypoints.schedules import schedules
from tollgate.infra import database as databases
from tollgate.infra.job_queue import JobQueue
from tollgate.invoices.model import InvoiceStatus
from tollgate.kit.clock import SystemClock
from tollgate.payments.service.waking import COLLECT_JOB
from tollgate.payments.stripe_client import StripeClient
from tollgate.webhooks import service
from tollgate.webhooks.model import DeliveryState
from tollgate.webhooks.service import DELIVER_JOB

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
CONFIGURED = replace(KEY, allow_private_webhooks=True)
LOST = timedelta(minutes=1)


@dataclass
class Installation:
    """One database, Stripe beside it, a customer's server, and workers."""

    desk: Desk
    office: PostOffice
    server: Receiver

    @property
    def pool(self) -> Pool:
        return self.office.pool

    @asynccontextmanager
    async def working(self, *, count: int = 1, stripe: StripeClient | None = None) -> AsyncIterator[None]:
        """Workers without schedules: what they do, they were woken for."""
        stop, door = asyncio.Event(), stripe or self.desk.door
        queues = [
            JobQueue(self.pool, queued(self.desk.books.database, self.desk.clock, CONFIGURED, door), HASTY)
            for _ in range(count)
        ]
        running = [asyncio.create_task(queue.work(stop)) for queue in queues]
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            stop.set()
            await asyncio.gather(*running)

    async def lose_worker(self) -> None:
        """Whatever waits was taken by a worker that is gone."""
        await self.pool.execute(
            "UPDATE pgqueuer SET status = 'picked', dedupe_key = NULL, queue_manager_id = gen_random_uuid(),"
            " heartbeat = now() - $1::interval",
            LOST,
        )

    async def asked_for(self) -> dict[str, int]:
        rows = await self.pool.fetch("SELECT entrypoint, count(*) AS jobs FROM pgqueuer GROUP BY 1")
        return {row["entrypoint"]: row["jobs"] for row in rows}

    async def until_idle(self) -> None:
        async def idle() -> bool:
            return not await self.asked_for()

        await until(idle)


@pytest.fixture(scope="module")
async def shared(server_url: str, template: str) -> AsyncIterator[Installation]:
    async with (
        a_copy(server_url, template, f"{template}_waking") as url,
        a_stripe(NOON) as double,
        receiver() as server,
    ):
        database, pool = (
            databases.connect(url, connections_max=12),
            await databases.connect_pool(url, connections_max=8),
        )
        door = StripeClient(SECRET_KEY, base=double.url, timeout_seconds=5)
        desk = Desk(Books(database, pool), double, door)
        desk.clock.at = SystemClock().now() + timedelta(minutes=15)  # events are due by the database's own clock
        yield Installation(desk, PostOffice(database, pool, desk.clock), server)
        await door.close()
        await pool.close()
        await database.close()


@pytest.fixture
async def here(shared: Installation) -> Installation:
    await shared.pool.execute("DELETE FROM pgqueuer")
    shared.desk.double.begin_anew(AFTER)
    shared.server.answering = None
    shared.server.arrived.clear()
    return shared


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():  # noqa: ASYNC110 - the database announces no such thing
        await asyncio.sleep(0.01)


async def test_two_workers_share_what_is_to_be_collected_and_each_is_charged_once(here: Installation) -> None:
    issued = [await here.desk.invoiced() for _ in range(4)]
    assert await here.asked_for() == {COLLECT_JOB: 4}

    async with here.working(count=2):
        await here.until_idle()

    paid = [(await here.desk.heading(each)).status for each in issued]
    charges = [each["amount"] for each in here.desk.double.every("charge")]
    assert (paid, charges) == ([InvoiceStatus.PAID] * 4, [1000] * 4)


async def test_two_workers_share_the_deliveries_of_one_endpoint_and_each_is_sent_once(here: Installation) -> None:
    owner = await here.office.an_owner()
    minted = await here.office.a_webhook(owner, here.server.url)
    for _ in range(8):
        await here.office.tell(owner)
    assert await here.asked_for() == {DELIVER_JOB: 1}
    both = asyncio.Event()

    async def once_both_are_at_it(writer: asyncio.StreamWriter) -> None:
        if len(here.server.arrived) > 4:  # more than one of them sends to an endpoint
            both.set()
        await both.wait()
        await saying(200)(writer)

    here.server.answering = once_both_are_at_it
    wake = {each.name: each.job for each in schedules(here.office.database, here.office.clock, CONFIGURED)}["webhooks"]
    async with here.working(count=2):
        while not both.is_set():
            await wake()
            await asyncio.sleep(0.02)
        await here.until_idle()

    assert await states_of(here.office, minted) == [(DeliveryState.DELIVERED, 1)] * 8
    assert len({each.headers["tollgate-event-id"] for each in here.server.arrived}) == len(here.server.arrived) == 8


async def test_what_a_worker_that_died_had_taken_is_done_by_another(here: Installation) -> None:
    issued = await here.desk.invoiced()
    owner = await here.office.an_owner()
    minted = await here.office.a_webhook(owner, here.server.url)
    await here.office.tell(owner)
    await here.lose_worker()

    async with here.working():
        await here.until_idle()

    assert (await here.desk.heading(issued)).status is InvoiceStatus.PAID
    assert await states_of(here.office, minted) == [(DeliveryState.DELIVERED, 1)]


async def test_neither_a_silent_stripe_nor_a_silent_endpoint_is_in_the_way(here: Installation) -> None:
    owner = await here.office.an_owner()
    over = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        await over.wait()
        await dropping(writer)

    async with receiver() as dead:
        dead.answering = silent
        door = StripeClient(SECRET_KEY, base=dead.url.removesuffix("/hook"), timeout_seconds=1)
        for _ in range(9):  # more than a worker collects at once
            await here.desk.invoiced()
        await here.office.a_webhook(owner, dead.url)
        for _ in range(9):
            await here.office.tell(owner)
        async with here.working(stripe=door):

            async def both_are_silent() -> bool:
                return len({each.target for each in dead.arrived}) > 1

            await until(both_are_silent)
            await here.office.a_webhook(owner, here.server.url)
            told = await here.office.tell(owner)

            async def arrived() -> bool:
                return bool(here.server.arrived)

            await until(arrived)
            assert str(told.id) in here.server.arrived[0].headers["tollgate-event-id"]
            over.set()
        await door.close()


async def test_what_somebody_is_told_of_is_asked_for_once_and_what_nobody_is_told_of_is_not(here: Installation) -> None:
    owner = await here.office.an_owner()
    await here.office.tell(owner)
    assert await here.asked_for() == {}
    minted = await here.office.a_webhook(owner, here.server.url)
    async with here.office.database.write() as session:
        scope, since = (owner, minted.webhook.id), SystemClock().now() - LOST
        assert await service.replay_since(session, scope=scope, since=since, now=here.office.clock.now()) == 1
    for _ in range(3):
        await here.office.tell(owner)
    assert await here.asked_for() == {DELIVER_JOB: 1}
