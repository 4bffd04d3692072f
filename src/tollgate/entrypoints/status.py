"""Status: how the whole installation is doing, for whoever has to decide at night whether to get up."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import msgspec
import structlog
from litestar import get

from tollgate.infra import jobs
from tollgate.infra.database import DATABASE_AWAY, Database
from tollgate.infra.jobs import Backlog
from tollgate.infra.web import Injected, One
from tollgate.invoices.model import ClosingFailure
from tollgate.invoices.service import closings
from tollgate.invoices.tasks import CLOSE_JOB
from tollgate.kit.clock import Clock
from tollgate.kit.errors import Unavailable
from tollgate.kit.ids import typed
from tollgate.kit.principal import Principal
from tollgate.metering import status
from tollgate.metering.schemas import StatusView
from tollgate.metering.status import OnDisk

_SECONDS_MAX = 5
"""As long as metering waits for its part."""
_FAILURES_MAX = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """What workers have to do."""

    backlog: Backlog
    closing: int
    failing: int
    failures: list[ClosingFailure]


class JobsView(msgspec.Struct, kw_only=True, frozen=True):
    """The work of workers."""

    waiting: int
    """Jobs whose time has come and that no worker has begun."""
    oldest_age_seconds: int | None
    """How long the oldest of them has waited; more than a minute: no worker runs, or too few."""
    running: int
    failed: Mapping[str, int]
    """Runs that failed within the last day, by job; each is tried again a few times."""
    scheduled: Mapping[str, datetime | None]
    """When the work of each schedule was last done."""

    @classmethod
    def of(cls, backlog: Backlog, now: datetime) -> Self:
        waited = None if backlog.oldest_at is None else max(0, (now - backlog.oldest_at) // timedelta(seconds=1))
        return cls(
            waiting=backlog.waiting,
            oldest_age_seconds=waited,
            running=backlog.running,
            failed=backlog.failed,
            scheduled=backlog.scheduled,
        )


class FailedClosingView(msgspec.Struct, kw_only=True, frozen=True):
    """A month that could not be closed. It is tried again every quarter of an hour; later months wait for it."""

    organization: str
    month: str
    reason: str
    since: datetime
    last_at: datetime
    attempts: int

    @classmethod
    def of(cls, failure: ClosingFailure) -> Self:
        return cls(
            organization=typed("org", failure.organization_id),
            month=failure.month.name,
            reason=failure.reason,
            since=failure.since,
            last_at=failure.last_at,
            attempts=failure.attempts,
        )


class ClosingView(msgspec.Struct, kw_only=True, frozen=True):
    """Months that are over and wait for their invoice."""

    due: int
    """Organizations that workers were asked to close months of, and have not done with."""
    failed: int
    """Organizations with a month that could not be closed."""
    failures: list[FailedClosingView]
    """The first hundred of them, those that have waited longest first."""


class WholeStatusView(StatusView, kw_only=True, frozen=True):
    """How the installation is doing."""

    jobs: JobsView | None
    closing: ClosingView | None


@get("/admin/status", tags=["Installation"], summary="What is in flight, what waits, and what needs a person")
async def get_status(
    database: Injected[Database],
    on_disk: Injected[Callable[[], OnDisk | None]],
    clock: Injected[Clock],
    operator: Injected[Principal],  # noqa: ARG001 - asking for an operator is the check
) -> One[WholeStatusView]:
    """Tell it even if the ledger stops answering after it has vouched for the key.

    While the database is away altogether, nobody can vouch for an operator's key, so the answer is 503. What lies on
    the disk is told by `/metrics` and `tollgate spool list` as well, which ask no database.
    """
    ledger, disk, work = await asyncio.gather(status.in_ledger(database), asyncio.to_thread(on_disk), _work(database))
    metering = StatusView.of(ledger, disk, host=socket.gethostname(), now=clock.now())
    return One(
        data=WholeStatusView(
            **msgspec.structs.asdict(metering),
            jobs=None if work is None else JobsView.of(work.backlog, clock.now()),
            closing=None
            if work is None
            else ClosingView(
                due=work.closing,
                failed=work.failing,
                failures=[FailedClosingView.of(failure) for failure in work.failures],
            ),
        )
    )


async def _work(database: Database) -> _Work | None:
    """What workers have to do; `None` if the database does not answer in time."""
    try:
        async with asyncio.timeout(_SECONDS_MAX), database.read() as session:
            failing, failures = await closings.failures(session, count=_FAILURES_MAX)
            return _Work(
                backlog=await jobs.backlog(session),
                closing=await jobs.outstanding(session, job=CLOSE_JOB),
                failing=failing,
                failures=list(failures),
            )
    except (*DATABASE_AWAY, Unavailable) as error:
        _log.warning("the database does not tell what workers do", error=type(error).__name__)
        return None


HANDLERS = (get_status,)
