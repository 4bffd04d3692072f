"""The queue of jobs: whatever is asked for in a transaction that commits is done, whoever is killed at it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import a_copy

from tollgate.infra import database as databases
from tollgate.infra import jobs
from tollgate.infra.database import Database
from tollgate.infra.job_queue import JobQueue, Pace
from tollgate.infra.jobs import Job

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
SOON = timedelta(milliseconds=20)
HASTY = Pace(look=SOON, beat=SOON, lost_after=timedelta(milliseconds=300), backoff=SOON, runs_max=3)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
async def queue_url(server_url: str, template: str) -> AsyncIterator[str]:
    async with a_copy(server_url, template, f"{template}_queue") as url:
        yield url


@pytest.fixture(scope="module")
async def pool(queue_url: str) -> AsyncIterator[Pool]:
    opened = await databases.connect_pool(queue_url, connections_max=8)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def database(queue_url: str) -> AsyncIterator[Database]:
    opened = databases.connect(queue_url)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
async def _nothing_waits(pool: Pool) -> None:
    await pool.execute("DELETE FROM pgqueuer")
    await pool.execute("DELETE FROM pgqueuer_log")


@asynccontextmanager
async def working(pool: Pool, *kinds: Job, count: int = 1, pace: Pace = HASTY) -> AsyncIterator[asyncio.Event]:
    """Workers that work while the block lasts, and finish what they have begun."""
    stop = asyncio.Event()
    running = [asyncio.create_task(JobQueue(pool, kinds, pace).work(stop)) for _ in range(count)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield stop
    finally:
        stop.set()
        await asyncio.gather(*running)


async def ask(database: Database, *subjects: str, job: str = "greet", after: datetime | None = None) -> None:
    async with database.write() as session:
        await jobs.enqueue_all(session, job=job, subjects=subjects, after=after)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():  # noqa: ASYNC110 - the database announces no such thing
        await asyncio.sleep(0.01)


async def until_empty(pool: Pool) -> None:
    async def empty() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 0 FROM pgqueuer"))

    await until(empty)


class Greeter:
    """A job that remembers whom it met, and fails or waits when it is told to."""

    def __init__(self, *, fails: int = 0) -> None:
        self.met: list[str] = []
        self.fails = fails
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def run(self, subject: str) -> None:
        self.met.append(subject)
        self.began.set()
        await self.may_end.wait()
        if len(self.met) <= self.fails:
            raise LookupError(subject.upper())

    @property
    def job(self) -> Job:
        return Job("greet", self.run, concurrency=2)


async def test_each_job_runs_once_however_many_workers_there_are(database: Database, pool: Pool) -> None:
    everybody = [f"person {number}" for number in range(50)]
    greeter = Greeter()

    async with working(pool, greeter.job, count=4):
        await ask(database, *everybody)
        await until_empty(pool)

    assert Counter(greeter.met) == Counter(everybody)


async def test_asking_twice_while_it_waits_is_asking_once_and_the_earlier_time_counts(
    database: Database, pool: Pool
) -> None:
    greeter = Greeter()
    await ask(database, "Ada", "Ada", after=datetime(2999, 1, 1, tzinfo=UTC))
    async with working(pool, greeter.job):
        await asyncio.sleep(0.1)
        assert greeter.met == []
        await ask(database, "Ada")
        await until_empty(pool)

    assert greeter.met == ["Ada"]


async def test_what_is_asked_for_while_it_runs_is_run_again_afterwards(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    greeter.may_end.clear()
    await ask(database, "Ada")
    async with working(pool, greeter.job):
        await greeter.began.wait()
        await ask(database, "Ada")
        greeter.may_end.set()
        await until_empty(pool)

    assert greeter.met == ["Ada", "Ada"]


async def test_no_worker_begins_before_who_asks_has_committed(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    await ask(database, "Ada")
    async with database.write() as session:
        await jobs.enqueue(session, job="greet", subject="Ada")  # the wish that waits is held until this commits
        await jobs.enqueue(session, job="greet", subject="Grace")
        async with working(pool, greeter.job) as _:
            await asyncio.sleep(0.1)
            assert greeter.met == []
    async with working(pool, greeter.job):
        await until_empty(pool)
    assert sorted(greeter.met) == ["Ada", "Grace"]


async def test_nothing_is_done_for_a_transaction_that_is_rolled_back(database: Database, pool: Pool) -> None:
    async def fail() -> None:
        async with database.write() as session:
            await jobs.enqueue(session, job="greet", subject="Ada")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await until_empty(pool)


async def test_one_that_fails_is_run_again_later_and_told_of_without_its_words(database: Database, pool: Pool) -> None:
    greeter = Greeter(fails=2)
    await ask(database, "Ada")
    async with working(pool, greeter.job):
        await until_empty(pool)

    assert greeter.met == ["Ada"] * 3
    async with database.read() as session:
        assert (await jobs.backlog(session)).failed == {"greet": 2}
    told = await pool.fetchval("SELECT traceback::text FROM pgqueuer_log ORDER BY id LIMIT 1")
    assert "LookupError" in told
    assert "ADA" not in told


async def test_one_that_always_fails_is_given_up_until_it_is_asked_for_again(database: Database, pool: Pool) -> None:
    greeter = Greeter(fails=4)
    await ask(database, "Ada")
    async with working(pool, greeter.job):
        await until_empty(pool)
        assert greeter.met == ["Ada"] * 3
        await ask(database, "Ada")
        await until_empty(pool)
    assert greeter.met == ["Ada"] * 5


async def test_one_that_takes_too_long_has_failed(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    greeter.may_end.clear()
    await ask(database, "Ada")
    async with working(pool, Job("greet", greeter.run, seconds_max=0.02)):
        await until_empty(pool)
    assert greeter.met == ["Ada"] * 3


async def test_what_a_lost_worker_had_taken_is_done_by_another(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    greeter.may_end.clear()
    await ask(database, "Ada", "Grace")
    lost = asyncio.create_task(JobQueue(pool, [Job("greet", greeter.run)], HASTY).work(asyncio.Event()))
    await greeter.began.wait()
    # As if the process were gone: nobody beats for what it took. It lives on, and finds that nothing is its own.
    await pool.execute("UPDATE pgqueuer SET queue_manager_id = gen_random_uuid() WHERE status = 'picked'")
    async with working(pool, greeter.job):
        greeter.may_end.set()
        await until_empty(pool)
    lost.cancel()
    await asyncio.wait([lost])

    assert Counter(greeter.met) == {"Ada": 2, "Grace": 1}


async def test_one_whose_end_could_not_be_told_is_run_again(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    greeter.may_end.clear()
    await ask(database, "Ada")
    async with working(pool, greeter.job):
        await greeter.began.wait()
        await pool.execute(
            "CREATE TRIGGER refused BEFORE DELETE ON pgqueuer FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        greeter.may_end.set()
        await asyncio.sleep(0.1)
        await pool.execute("DROP TRIGGER refused ON pgqueuer")
        await until_empty(pool)
    assert greeter.met == ["Ada", "Ada"]


async def test_one_kind_that_is_slow_leaves_the_others_their_room(database: Database, pool: Pool) -> None:
    slow, quick = Greeter(), Greeter()
    slow.may_end.clear()
    await ask(database, *map(str, range(20)), job="slow")
    async with working(pool, Job("slow", slow.run, concurrency=2), Job("quick", quick.run)):
        await slow.began.wait()
        await ask(database, *map(str, range(5)), job="quick")

        async def quick_is_done() -> bool:
            return len(quick.met) == 5

        await until(quick_is_done)
        assert len(slow.met) == 2
        slow.may_end.set()
        await until_empty(pool)


async def test_the_backlog_says_what_waits_what_runs_and_since_when(database: Database, pool: Pool) -> None:
    greeter = Greeter()
    greeter.may_end.clear()
    async with working(pool, Job("greet", greeter.run)):
        await ask(database, "Ada", "Grace")
        await ask(database, "Alan", after=datetime(2999, 1, 1, tzinfo=UTC))
        await greeter.began.wait()
        async with database.read() as session:
            found = await jobs.backlog(session)
        greeter.may_end.set()

    assert (found.waiting, found.running, found.failed) == (1, 1, {})
    assert found.oldest_at is not None


async def test_failures_are_forgotten_after_a_while(database: Database, pool: Pool) -> None:
    for days in (13, 15):
        await pool.execute(
            "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
            " VALUES (now() - make_interval(days => $1), 1, 'exception', 0, 'greet')",
            days,
        )
    async with database.write() as session:
        await jobs.forget_failures(session)
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer_log") == 1


@given(st.integers(1, 40))
def test_the_wait_after_a_failure_only_grows_up_to_a_bound(runs: int) -> None:
    pace = Pace(runs_max=40)
    wait, following = pace.wait_after(runs), pace.wait_after(runs + 1)
    assert following is None or (wait is not None and pace.backoff <= wait <= following <= pace.backoff_max)
