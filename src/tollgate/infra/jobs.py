"""Jobs: work that is done aside, by any worker: on a schedule, or when a transaction asks for it.

A job is the wake-up and never the truth: what is to be done follows from rows of the slice that asks. So a job may run
twice or early and must bear it, and what a lost wake-up would have done is found again by a schedule.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tollgate.infra.database import ReadSession, WriteSession

FAILURES_TOLD = timedelta(days=1)
"""How long a failure is part of the status."""
FAILURES_KEPT = timedelta(days=14)
"""How long the database tells of a failure."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Work and when it is due."""

    name: str
    """What it is called, in the database and in the logs; never to be reused for another."""
    cron: str
    """Five fields, UTC: minute, hour, day of month, month, day of week; a sixth field means seconds."""
    job: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work that is asked for by `enqueue()`."""

    name: str
    """As in a schedule."""
    run: Callable[[str], Awaitable[None]]
    """Does the work of one subject, such as an id. If it raises, it is called again later, a few times."""
    concurrency: int = 1
    """How many subjects one worker works on at once; other kinds do not wait for this one's."""
    seconds_max: float = 300
    """A run that takes longer is ended, as one that raised."""


# Asking again changes nothing while the first wish waits; but it holds that row until the transaction ends, so that no
# worker begins before it can see what the transaction did. A job that runs has no key, so a wish waits for after it.
_ENQUEUE = sa.text("""
    INSERT INTO pgqueuer (priority, entrypoint, dedupe_key, payload, execute_after, status)
    SELECT 0, :job, :job || ':' || subject, convert_to(subject, 'UTF8'), coalesce(:after, now()), 'queued'
    FROM unnest(:subjects) AS asked (subject)
    ORDER BY subject
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
    DO UPDATE SET execute_after = least(pgqueuer.execute_after, excluded.execute_after)
""").bindparams(
    sa.bindparam("job", type_=sa.Text),
    sa.bindparam("subjects", type_=postgresql.ARRAY(sa.Text)),
    sa.bindparam("after", type_=sa.DateTime(timezone=True)),
)


async def enqueue(session: WriteSession, *, job: str, subject: str, after: datetime | None = None) -> None:
    """Have a worker run the job on the subject once this transaction is committed, and not before `after`.

    However often that is asked for, one run waits; if others ask for other times, the earliest counts. Who enqueues
    holds the subject until the transaction ends, so that should be the last thing a transaction does.
    """
    await enqueue_all(session, job=job, subjects=[subject], after=after)


async def enqueue_all(
    session: WriteSession, *, job: str, subjects: Collection[str], after: datetime | None = None
) -> None:
    """As `enqueue()` does, for many subjects in one statement."""
    if subjects:
        await session.execute(_ENQUEUE, {"job": job, "subjects": sorted(set(subjects)), "after": after})


@dataclass(frozen=True, slots=True)
class Backlog:
    """How jobs are doing."""

    waiting: int
    """Those whose time has come and that no worker has begun."""
    oldest_at: datetime | None
    """Since when the oldest of them could have been begun."""
    running: int
    failed: Mapping[str, int]
    """Runs that failed within FAILURES_TOLD, by job."""
    scheduled: Mapping[str, datetime | None]
    """When each schedule's work was last done; `None` if it never was."""


_WAITING = sa.text("""
    SELECT count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS waiting,
           min(execute_after) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS oldest_at,
           count(*) FILTER (WHERE status = 'picked') AS running
    FROM pgqueuer
""")
_FAILED = sa.text("""
    SELECT entrypoint, count(*) AS runs FROM pgqueuer_log
    WHERE status = 'exception' AND created > now() - CAST(:told AS interval)
    GROUP BY entrypoint ORDER BY entrypoint
""").bindparams(sa.bindparam("told", FAILURES_TOLD, type_=sa.Interval))
_SCHEDULED = sa.text("SELECT entrypoint, max(last_run) AS at FROM pgqueuer_schedules GROUP BY entrypoint ORDER BY 1")
_OUTSTANDING = sa.text("SELECT count(*) FROM pgqueuer WHERE entrypoint = :job AND status IN ('queued', 'picked')")
_FORGET = sa.text("DELETE FROM pgqueuer_log WHERE created < now() - CAST(:kept AS interval)").bindparams(
    sa.bindparam("kept", FAILURES_KEPT, type_=sa.Interval)
)


async def backlog(session: ReadSession) -> Backlog:
    """How jobs are doing, by the database's clock."""
    waiting = (await session.execute(_WAITING)).one()
    failed = await session.execute(_FAILED)
    scheduled = await session.execute(_SCHEDULED)
    return Backlog(
        waiting=waiting.waiting,
        oldest_at=waiting.oldest_at,
        running=waiting.running,
        failed={row.entrypoint: row.runs for row in failed},
        scheduled={row.entrypoint: row.at for row in scheduled},
    )


async def outstanding(session: ReadSession, *, job: str) -> int:
    """How many runs of the job wait or go on."""
    return int((await session.execute(_OUTSTANDING, {"job": job})).scalar_one())


async def forget_failures(session: WriteSession) -> None:
    """Delete what is told of runs that failed longer than FAILURES_KEPT ago."""
    await session.execute(_FORGET)
