"""The queue of jobs: how a worker takes them, keeps them while it works, and gives back what failed.

The table is that of the library whose schedules we use, pgqueuer. Taking is our own: each kind has room of its own in
every worker, a wish that comes while the job runs is not lost, and workers wake each other only for what is new.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import structlog

from tollgate.infra import telemetry
from tollgate.infra.database import DATABASE_AWAY, PoolConnection
from tollgate.infra.jobs import Job
from tollgate.kit.backoff import doubled

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_CHANNEL = "ch_pgqueuer"
_GATHERING_SECONDS = 0.02
"""How long a worker waits after the first news of a new job for news of more."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a worker is; tests are less so."""

    look: timedelta = timedelta(seconds=1)
    """How often to look for jobs whose time has come, news or not."""
    beat: timedelta = timedelta(seconds=5)
    """How often to say that jobs are still being worked on, and to look for those of which nobody says so."""
    lost_after: timedelta = timedelta(seconds=30)
    """A job of which nobody has said so for this long is anybody's again."""
    backoff: timedelta = timedelta(seconds=5)
    """How long a job waits after it failed for the first time; each further time four times as long."""
    backoff_max: timedelta = timedelta(minutes=15)
    away: timedelta = timedelta(seconds=5)
    """How long to leave a database alone that is away."""
    runs_max: int = 8
    """A job that failed, or was lost, so often is given up until it is asked for again."""

    def wait_after(self, runs: int) -> timedelta | None:
        """How long to wait after so many runs that failed; `None` is for good."""
        if runs >= self.runs_max:
            return None
        return doubled(self.backoff, self.backoff_max, times=2 * (runs - 1))


@dataclass(frozen=True, slots=True)
class _Taken:
    id: int
    subject: str
    runs: int


# A job that is taken loses its key: whoever asks for the same from now on has it run again afterwards.
_TAKE = """
    WITH free AS (SELECT * FROM unnest($1::text[], $2::int[]) AS free (entrypoint, room)),
    due AS (
        SELECT job.id FROM free CROSS JOIN LATERAL (
            SELECT id FROM pgqueuer
            WHERE entrypoint = free.entrypoint AND status = 'queued' AND execute_after <= now()
            ORDER BY priority DESC, id LIMIT free.room FOR UPDATE SKIP LOCKED) AS job)
    UPDATE pgqueuer AS job
    SET status = 'picked', queue_manager_id = $3, dedupe_key = NULL, attempts = attempts + 1, heartbeat = now(),
        updated = now()
    FROM due WHERE job.id = due.id
    RETURNING job.id, job.entrypoint, convert_from(job.payload, 'UTF8') AS subject, job.attempts AS runs
"""
_FINISH = "DELETE FROM pgqueuer WHERE id = $1 AND queue_manager_id = $2"
_BEAT = "UPDATE pgqueuer SET heartbeat = now() WHERE id = ANY ($1::bigint[]) AND queue_manager_id = $2"
# What is given back is a new row, or none where somebody has asked for the same meanwhile.
_GIVE_BACK = """
    INSERT INTO pgqueuer (priority, entrypoint, dedupe_key, payload, attempts, created, execute_after, status)
    SELECT priority, entrypoint, entrypoint || ':' || convert_from(payload, 'UTF8'), payload, attempts, created,
           now() + {wait}, 'queued'
    FROM gone WHERE {wait} IS NOT NULL
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL DO NOTHING
"""
_FAIL = f"""
    WITH gone AS (DELETE FROM pgqueuer WHERE id = $1 AND queue_manager_id = $2 RETURNING *),
    told AS (
        INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, traceback, aggregated)
        SELECT id, 'exception', priority, entrypoint, $4::jsonb, true FROM gone)
    {_GIVE_BACK.format(wait="$3::interval")}
"""
_RESCUE = f"""
    WITH lost AS (
        SELECT id FROM pgqueuer
        WHERE status = 'picked' AND heartbeat < now() - $1::interval ORDER BY id FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM pgqueuer USING lost WHERE pgqueuer.id = lost.id RETURNING pgqueuer.*),
    back AS ({_GIVE_BACK.format(wait="interval '0'")})
    SELECT entrypoint FROM gone
"""


class JobQueue:
    """One worker's hands on the queue."""

    def __init__(self, pool: Pool, jobs: Sequence[Job], pace: Pace) -> None:
        self._pool = pool
        self._jobs = {job.name: job for job in jobs}
        self._pace = pace
        self._worker: UUID = uuid4()
        self._running: dict[asyncio.Task[None], tuple[str, int]] = {}
        self._news = asyncio.Event()

    async def work(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set, then finish those that have begun. Raises DATABASE_AWAY when that is so."""
        async with self._pool.acquire() as listener:
            await listener.add_listener(_CHANNEL, self._hear)
            beating = asyncio.create_task(self._keep_beating())
            stopping = asyncio.create_task(stop.wait())
            stopping.add_done_callback(lambda _: self._news.set())
            try:
                while not stop.is_set():
                    await self._round(listener, beating)
            finally:
                stopping.cancel()
                if self._running:
                    await asyncio.wait(self._running)
                beating.cancel()
                await listener.remove_listener(_CHANNEL, self._hear)

    async def _round(self, listener: PoolConnection, beating: asyncio.Task[None]) -> None:
        if listener.is_closed():
            raise asyncpg.InterfaceError("the connection that hears of new jobs is closed")
        if beating.done():
            beating.result()
        self._news.clear()
        async with _again_later("take"):
            await self._take()
        try:
            async with asyncio.timeout(self._pace.look.total_seconds()):
                await self._news.wait()
        except TimeoutError:
            return

    async def _take(self) -> None:
        """Begin as much as there is room for."""
        running = Counter(name for name, _ in self._running.values())
        room = {name: job.concurrency - running[name] for name, job in self._jobs.items()}
        free = {name: count for name, count in room.items() if count > 0}
        for row in await self._pool.fetch(_TAKE, list(free), list(free.values()), self._worker):
            taken = _Taken(row["id"], row["subject"], row["runs"])
            task = asyncio.create_task(self._run(self._jobs[row["entrypoint"]], taken))
            self._running[task] = (row["entrypoint"], taken.id)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._news.set()

    def _hear(self, _connection: object, _pid: object, _channel: object, payload: object) -> None:
        # Workers are told of every change to the table, and most are made by workers.
        if '"insert"' in str(payload):
            asyncio.get_running_loop().call_later(_GATHERING_SECONDS, self._news.set)

    async def _run(self, job: Job, taken: _Taken) -> None:
        if taken.runs > self._pace.runs_max:
            await self._fail(job, taken, TimeoutError("worker after worker was lost at it"))
            return
        error = await _error_of(job, taken.subject)
        if error is not None:
            await self._fail(job, taken, error)
            return
        telemetry.JOBS.labels(job.name, "finished").inc()
        await self._settled(_FINISH, taken.id, self._worker)

    async def _fail(self, job: Job, taken: _Taken, error: BaseException) -> None:
        wait = self._pace.wait_after(taken.runs)
        outcome = "given_up" if wait is None else "failed"
        telemetry.JOBS.labels(job.name, outcome).inc()
        _log.error(f"job.{outcome}", job=job.name, subject=taken.subject, runs=taken.runs, exc_info=error)
        told = json.dumps({"subject": taken.subject, "runs": taken.runs, **telemetry.raised(error)})
        await self._settled(_FAIL, taken.id, self._worker, wait, told)

    async def _settled(self, statement: str, *arguments: object) -> None:
        """Say how a job ended. If that cannot be said, it counts as lost, and is run again."""
        try:
            await self._pool.execute(statement, *arguments)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            _log.warning("job.end_not_told", error=type(error).__name__)

    async def _keep_beating(self) -> None:
        while True:
            async with _again_later("beat"):
                await self._pool.execute(_BEAT, [taken for _, taken in self._running.values()], self._worker)
                for row in await self._pool.fetch(_RESCUE, self._pace.lost_after):
                    telemetry.JOBS.labels(row["entrypoint"], "lost").inc()
                    _log.warning("job.lost", job=row["entrypoint"])
            await asyncio.sleep(self._pace.beat.total_seconds())


@asynccontextmanager
async def _again_later(what: str) -> AsyncIterator[None]:
    """What is done again and again outlives a statement that failed; that the database is away is not ours to bear."""
    try:
        yield
    except DATABASE_AWAY:
        raise
    except asyncpg.PostgresError as error:
        _log.error("jobs.statement_failed", what=what, error=type(error).__name__)


async def _error_of(job: Job, subject: str) -> BaseException | None:
    """Run the job, for as long as it may take; whatever it raises is its own affair, and nobody else's."""
    run = asyncio.ensure_future(job.run(subject))
    await asyncio.wait([run], timeout=job.seconds_max)
    if not run.done():
        run.cancel()
        await asyncio.wait([run])
    return TimeoutError(f"{job.name} took too long") if run.cancelled() else run.exception()
