"""Use cases of metering: take a hold before a call, settle it afterwards, and say what an invoice covers.

Calls that want holds at the same time share one statement, and so do calls that settle. A settlement is never given
up: it is sent again until the ledger has it, and sending it twice records it once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

import asyncpg
import structlog

from tollgate.infra import telemetry
from tollgate.infra.batching import Batcher
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.metering import rules, store
from tollgate.metering.model import (
    Admission,
    AdmissionRequest,
    BilledLine,
    BilledUsage,
    CallSummary,
    OpenTime,
    RecordScope,
    Settled,
    Settlement,
)

LEASE = timedelta(hours=6)
"""How long a hold lasts without word from the process that took it.

Nobody renews leases yet, so this is longer than any call: a hold that was given back while its call still runs would
let others spend the same money. The price is that what a process held when it died stays held as long.
"""

PARTITION_MONTHS = 3
"""How many months of partitions stand ready: this one and the next two."""

_ADMIT_SECONDS_MAX = 10
"""How long a call waits for its hold before its caller is told that the ledger is away."""
_BATCH_MAX = 256
_FLIGHTS_MAX = 2
_RETRY_MILLISECONDS = (50, 100, 250, 500, 1000)
"""How long a batch waits between its tries; after the last of them its settlements go on one by one."""
_RETRY_ALONE_SECONDS_MAX = 60

_NOT_RECORDABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What is wrong with a record itself, and stays wrong however often it is sent."""
_LEDGER_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Everything else between us and the ledger passes: a restart, a failover, a deadlock, a full disk, a deployment."""

_Straggler: TypeAlias = asyncio.Task[Settled | BaseException]
_Answer: TypeAlias = Settled | BaseException | _Straggler

_log = structlog.get_logger(__name__)


class CatalogueIsStale(Exception):
    """Prices or catalogue changed since the call was planned: plan it again."""


class Meter:
    """The data plane's way to holds and settlements, in batches."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, *, settle_timeout_seconds: int) -> None:
        self._pool = pool
        self._clock = clock
        self._settle_timeout_seconds = settle_timeout_seconds
        self._giving_back: set[asyncio.Task[None]] = set()
        self._admissions: Batcher[AdmissionRequest, Admission | BaseException] = Batcher(
            self._admit, size_max=_BATCH_MAX, flights_max=_FLIGHTS_MAX
        )
        self._settlements: Batcher[Settlement, _Answer] = Batcher(
            self._settle, size_max=_BATCH_MAX, flights_max=_FLIGHTS_MAX
        )
        self._stragglers: set[_Straggler] = set()
        self._stragglers_at_once = asyncio.Semaphore(_FLIGHTS_MAX)

    async def hold(self, request: AdmissionRequest) -> Decimal:
        """Hold what the request asks for; answers the amount held, between its least and its most.

        Raises:
            CatalogueIsStale: plan the call again.
            AuthenticationFailed, PermissionDenied, InsufficientCredit, LimitExceeded, RateLimited: nothing is held.
            LedgerUnavailable: the database is away; nothing is held.
        """
        future = self._admissions.submit(request)
        try:
            async with asyncio.timeout(_ADMIT_SECONDS_MAX):
                answer = await asyncio.shield(future)
        except (asyncio.CancelledError, *_LEDGER_AWAY) as error:
            # Nobody waits for the answer any more: if one comes late, what it holds goes back.
            future.add_done_callback(lambda late: self._give_back(request, late))
            if isinstance(error, asyncio.CancelledError):
                raise
            telemetry.ADMISSIONS.labels("unavailable").inc()
            raise LedgerUnavailable(metadata={"retry_after_seconds": 1}) from error
        if isinstance(answer, BaseException):
            raise answer
        telemetry.ADMISSIONS.labels(answer.outcome).inc()
        if answer.outcome == "admitted" and answer.amount is not None:
            return answer.amount
        if answer.outcome == "stale":
            raise CatalogueIsStale
        raise rules.refusal(request, answer, now=self._clock.now())

    def _give_back(self, request: AdmissionRequest, late: asyncio.Future[Admission | BaseException]) -> None:
        if late.cancelled() or late.exception() is not None:
            return
        answer = late.result()
        if not isinstance(answer, BaseException) and answer.outcome == "admitted":
            giving_back = asyncio.create_task(store.expire_hold(self._pool, request))
            self._giving_back.add(giving_back)
            giving_back.add_done_callback(self._giving_back.discard)

    async def settle(self, settlement: Settlement) -> None:
        """Record how a call ended; returns when that is committed.

        Cancelling the waiting does not cancel the settlement.

        Raises:
            LedgerUnavailable: the ledger did not confirm in time. The settlement is still being sent.
        """
        future = self._settlements.submit(settlement)
        try:
            async with asyncio.timeout(self._settle_timeout_seconds):
                answer = await asyncio.shield(future)
                if isinstance(answer, asyncio.Task):
                    answer = await asyncio.shield(answer)
        except TimeoutError as error:
            raise LedgerUnavailable(metadata={"retry_after_seconds": 5}) from error
        if isinstance(answer, BaseException):
            raise LedgerUnavailable from answer
        if not answer.recorded:
            _log.info("call was recorded before", call_id=str(answer.call_id))
        if answer.overrun:
            telemetry.OVERRUNS.inc()
            _log.warning("call exceeded its hold", call_id=str(answer.call_id), overrun=str(answer.overrun))

    @property
    def unrecorded(self) -> int:
        """How many settlements are under way."""
        return self._settlements.unanswered + len(self._stragglers)

    async def drained(self) -> None:
        """Wait until every settlement under way is recorded."""
        await self._settlements.drained()
        while self._stragglers:
            await asyncio.wait(self._stragglers)

    async def _admit(self, requests: Sequence[AdmissionRequest]) -> Sequence[Admission | BaseException]:
        telemetry.BATCHES.labels("admit").observe(len(requests))
        try:
            return await store.admit(self._pool, requests, now=self._clock.now(), lease=LEASE)
        except _NOT_RECORDABLE as error:
            # One request the database refuses must not sink the others of its batch.
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in await self._admit([request])]

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[_Answer]:
        telemetry.BATCHES.labels("settle").observe(len(settlements))
        for milliseconds in _RETRY_MILLISECONDS:
            try:
                return await store.settle(self._pool, settlements, now=self._clock.now())
            except _NOT_RECORDABLE as error:
                return await self._settle_apart(settlements, error)
            except _LEDGER_AWAY as error:
                telemetry.SETTLE_RETRIES.inc()
                _log.warning("settlement is sent again", calls=len(settlements), error=_name(error))
                await asyncio.sleep(milliseconds / 1000)
        # What keeps going wrong may be one record's own fault: it must hold up neither its batch nor those that follow.
        return [self._sent_alone(settlement) for settlement in settlements]

    async def _settle_apart(self, settlements: Sequence[Settlement], error: Exception) -> Sequence[_Answer]:
        """One record the database refuses must not sink the others of its batch."""
        if len(settlements) > 1:
            return [answer for settlement in settlements for answer in await self._settle([settlement])]
        bare = _bared(settlements[0], error)
        return [_given_up(settlements[0], error)] if bare is None else await self._settle([bare])

    def _sent_alone(self, settlement: Settlement) -> _Straggler:
        straggler = asyncio.get_running_loop().create_task(self._settle_alone(settlement))
        self._stragglers.add(straggler)
        straggler.add_done_callback(self._stragglers.discard)
        return straggler

    async def _settle_alone(self, settlement: Settlement) -> Settled | BaseException:
        """Send one settlement until the ledger has it, however long that takes, and few such at once."""
        seconds = 0
        while True:
            await asyncio.sleep(seconds)
            try:
                async with self._stragglers_at_once:
                    (settled,) = await store.settle(self._pool, [settlement], now=self._clock.now())
            except _NOT_RECORDABLE as error:
                bare = _bared(settlement, error)
                if bare is None:
                    return _given_up(settlement, error)
                settlement, seconds = bare, 0
            except _LEDGER_AWAY as error:
                telemetry.SETTLE_RETRIES.inc()
                seconds = min(2 * seconds + 1, _RETRY_ALONE_SECONDS_MAX)
                _log.error(
                    "call is not recorded yet",
                    call_id=str(settlement.call.call_id),
                    organization_id=str(settlement.call.organization_id),
                    next_try_seconds=seconds,
                    error=_name(error),
                )
            else:
                return settled


def _bared(settlement: Settlement, error: Exception) -> Settlement | None:
    """The refused settlement without its decorations: what a caller or a provider wrote makes no call free.

    `None` if it had none.
    """
    bare = rules.bare(settlement)
    if bare == settlement:
        return None
    _log.error("call is recorded without its decorations", call_id=str(bare.call.call_id), error=_name(error))
    return bare


def _given_up(settlement: Settlement, error: Exception) -> Exception:
    """Tell whoever watches of a record that can never be kept: what it says of money is in the log alone."""
    telemetry.UNSETTLED.inc()
    _log.error(
        "call could not be recorded",
        call_id=str(settlement.call.call_id),
        organization_id=str(settlement.call.organization_id),
        amount=str(settlement.call.amount),
        error=_name(error),
    )
    return error


def _name(error: Exception) -> str:
    """What kind of error it is. Its message may quote records, and those are nothing for a log."""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".rstrip()


async def release_expired_holds(session: WriteSession, now: datetime) -> int:
    """Give back what was held for calls whose process went away without settling them; answers how many there were.

    Any process may do this, any number at once. A thousand at most are released in one go; a settlement that arrives
    later charges its call all the same.
    """
    released = await store.release_expired_holds(session, now=now)
    if released:
        telemetry.EXPIRED_HOLDS.inc(released)
        _log.warning("holds expired without a settlement", holds=released)
    return released


async def cut_records(session: WriteSession, *, organization_id: OrganizationId) -> int:
    """Draw a line under the organization's records: answers the cut that just closed.

    Every settlement committed so far belongs to this cut or an earlier one, every later settlement to a later one:
    both take the lock of the organization's row.
    """
    return await store.cut(session, organization_id)


async def current_cut(session: ReadSession, *, organization_id: OrganizationId) -> int:
    """The cut that settlements belong to right now."""
    return await store.current_cut(session, organization_id)


async def billed_usage(
    session: ReadSession, *, organization_id: OrganizationId, scope: RecordScope
) -> tuple[BilledUsage, ...]:
    """The sums of a scope's records by what makes an invoice line."""
    return await store.billed_usage(session, organization_id, scope)


async def organizations_with_usage(session: ReadSession, times: Sequence[OpenTime]) -> set[OrganizationId]:
    """The organizations that used something in their open time which has a price, or must get one."""
    return await store.organizations_with_usage(session, times)


async def billed_calls(
    session: ReadSession,
    *,
    organization_id: OrganizationId,
    scope: RecordScope,
    line: BilledLine,
    after: CallId | None,
    limit: int,
) -> tuple[CallSummary, ...]:
    """The calls behind one line that were accepted between the scope's start and end, oldest first."""
    return await store.billed_calls(session, organization_id, scope, line, after=after, limit=limit)


async def ensure_partitions(session: WriteSession, *, now: datetime) -> int:
    """Make the coming months' partitions of calls and attempts; answers how many were new."""
    return await store.ensure_partitions(session, now=now, months=PARTITION_MONTHS)
