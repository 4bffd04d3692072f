"""Use cases of metering: take a hold before a call, settle it afterwards, and say what an invoice covers.

Calls that want holds at the same time share one statement, and so do calls that settle. What a call would leave undone
if this process died is noted when it begins, and again as it goes on. A settlement that the ledger does not take in
time is kept on the local disk, and then its caller is answered: what is acknowledged is recorded, here or there.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import structlog

from tollgate.infra import telemetry
from tollgate.infra.batching import Batcher, NoAnswerInTime, Patience
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.metering import line_calls, rules, store, sums
from tollgate.metering.allowance import OfflineAllowance
from tollgate.metering.model import (
    Admission,
    AdmissionRequest,
    Begun,
    BilledLine,
    BilledUsage,
    CallSummary,
    OpenTime,
    RecordScope,
    Settled,
    Settlement,
)
from tollgate.metering.safekeeping import Safekeeping
from tollgate.metering.sending import BATCH_MAX, LEDGER_AWAY, NOT_RECORDABLE, Sender, pace_of
from tollgate.metering.sums import Position

PARTITION_MONTHS = 3
"""How many months of partitions stand ready: this one and the next two."""

ADMIT_SECONDS_MAX = 10
"""How long a call waits for its hold before its caller is told that the ledger is away."""

_TAKEN_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What PostgreSQL takes back as a whole, so that it may be asked for again at once."""
_TRIES_MAX = 5


_log = structlog.get_logger(__name__)


class CatalogueIsStale(Exception):
    """Prices or catalogue changed since the call was planned: plan it again."""


class NeverRecorded(LedgerUnavailable):
    """The ledger will not take a settlement as it is, however often it is sent; it is put aside for a person."""


class Meter:
    """The data plane's way to holds and settlements, in batches."""

    def __init__(
        self,
        ledger: store.Ledger,
        clock: Clock,
        safe: Safekeeping,
        *,
        settle_timeout_seconds: int,
        lease: timedelta,
        offline_allowance: Decimal = Decimal(0),
    ) -> None:
        self.safe = safe
        self.lease = lease
        self._ledger = ledger
        self._clock = clock
        self._allowance = OfflineAllowance(offline_allowance)
        self._unwanted: dict[CallId, OrganizationId] = {}
        """Admissions that nobody waited for to the end, and that may have taken a hold."""
        self._admissions: Batcher[AdmissionRequest, Admission | BaseException] = Batcher(
            self._admit,
            size_max=BATCH_MAX,
            patience=Patience(ADMIT_SECONDS_MAX, self._note_unwanted),
            pace=pace_of("admit"),
        )
        self._sender = Sender(ledger, clock, safe, patience_seconds=settle_timeout_seconds)

    async def admit(self, request: AdmissionRequest) -> Admission:
        """Hold what the request asks for, between its least and its most; with `only_asks`, say what would be held.

        Raises:
            CatalogueIsStale: plan the call again.
            AuthenticationFailed, PermissionDenied, InsufficientCredit, LimitExceeded, RateLimited: nothing is held.
            LedgerUnavailable: the database is away; nothing is held.
        """
        answer = await self._admitted(request)
        if isinstance(answer, BaseException):
            raise answer
        if answer.outcome == "admitted":
            telemetry.count(telemetry.ADMISSIONS, "admitted")
            return answer
        telemetry.ADMISSIONS.labels(answer.outcome).inc()
        if answer.outcome == "stale":
            raise CatalogueIsStale
        raise rules.refusal(request, answer, now=self._clock.now())

    async def _admitted(self, request: AdmissionRequest) -> Admission | BaseException:
        try:
            answer = await self._admissions.submit(request)
        except LEDGER_AWAY as error:
            taken = self._allowance.take(request)
            if taken is not None:
                # What is held late is this call's all the same, and goes back when it is settled.
                telemetry.OFFLINE.inc()
                return Admission(request.call_id, "admitted", taken, None, None, None)
            if not isinstance(error, NoAnswerInTime):
                self._note_unwanted(request, None)
            telemetry.ADMISSIONS.labels("unavailable").inc()
            raise LedgerUnavailable(metadata={"retry_after_seconds": 1}) from error
        if isinstance(answer, Admission):
            self._allowance.answered(request.organization_id, answer)
        return answer

    def _note_unwanted(self, request: AdmissionRequest, answer: Admission | BaseException | None) -> None:
        """Nobody waits for this answer any more: if it came late, or was lost on the way, what is held goes back."""
        if request.only_asks or self._allowance.carries(request.call_id):
            return
        if answer is None or (isinstance(answer, Admission) and answer.outcome == "admitted"):
            self._unwanted[request.call_id] = request.organization_id

    async def give_back_unwanted(self) -> None:
        """Give back what is, or may be, held for calls whose callers were told that the ledger is away."""
        unwanted = dict(self._unwanted)
        if unwanted:
            await store.give_back(self._ledger, unwanted, now=self._clock.now())
            for call_id in unwanted:
                del self._unwanted[call_id]

    async def _admit(self, requests: Sequence[AdmissionRequest]) -> Sequence[Admission | BaseException]:
        telemetry.BATCHES.labels("admit").observe(len(requests))
        try:
            return await self._decided(requests)
        except NOT_RECORDABLE as error:
            # One request the database refuses must not sink the others of its batch.
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in await self._admit([request])]

    async def _decided(self, requests: Sequence[AdmissionRequest]) -> list[Admission]:
        """The ledger's decisions; asked for again where it took the requests back because of others."""
        tries = 0
        while True:
            try:
                return await store.admit(
                    self._ledger, requests, now=self._clock.now(), lease=self.lease, process_id=self.safe.process_id
                )
            except _TAKEN_BACK:
                tries += 1
                if tries == _TRIES_MAX:
                    raise

    def note(self, settlement: Settlement) -> None:
        """Remember what to record of a call if this process dies before it settles the call itself."""
        self.safe.note(settlement)

    def begin(self, call: Begun) -> None:
        """Remember what to record of a call that begins if this process dies before anything more is known of it."""
        self.safe.begin(call)

    async def settle(self, settlement: Settlement) -> None:
        """Record how a call ended; returns when that is committed, or on the local disk to be sent until it is.

        Cancelling the waiting does not cancel the settlement.

        Raises:
            LedgerUnavailable: neither the ledger nor the disk took it in time.
            NeverRecorded: the ledger never will.
        """
        self.safe.note(settlement)
        call = settlement.call
        self._allowance.settled(call.organization_id, call.call_id, call.amount)
        try:
            answer = await self._sender.send(settlement)
        except TimeoutError:
            await self.safe.keep([settlement], self._clock.now())
            return
        if isinstance(answer, BaseException):
            raise NeverRecorded from answer
        if answer.overrun:
            telemetry.OVERRUNS.inc()
            _log.warning("call exceeded its hold", call_id=str(answer.call_id), overrun=str(answer.overrun))
        if not answer.recorded:
            self._compare(settlement, answer)

    def _compare(self, settlement: Settlement, settled: Settled) -> None:
        """Tell of a call that others had recorded before, at another amount: the first record stands."""
        call = settlement.call
        _log.info("call was recorded before", call_id=str(call.call_id))
        if settled.recorded_amount != call.amount:
            telemetry.LATE.inc()
            _log.error(
                "call was recorded before at another amount",
                call_id=str(call.call_id),
                organization_id=str(call.organization_id),
                recorded=str(settled.recorded_amount),
                late=str(call.amount),
            )

    @property
    def unrecorded(self) -> int:
        """How many settlements are under way."""
        return self._sender.unrecorded

    async def drained(self) -> None:
        """Wait until every settlement under way is recorded."""
        await self._sender.drained()


async def cut_records(session: WriteSession, *, organization_id: OrganizationId) -> int:
    """Draw a line under the organization's records: answers the cut that just closed.

    Every settlement committed so far belongs to this cut or an earlier one, every later settlement to a later one:
    both take the lock of the organization's row.
    """
    return await store.cut(session, organization_id)


async def position(session: ReadSession, *, organization_id: OrganizationId) -> Position:
    """The cut that settlements belong to right now, and the one up to which usage is folded."""
    return await sums.position(session, organization_id)


async def billed_usage(
    session: ReadSession, *, organization_id: OrganizationId, scope: RecordScope, position: Position
) -> tuple[BilledUsage, ...]:
    """The sums of a scope's records by what makes an invoice line; exact whenever the position was read."""
    return await store.billed_usage(session, organization_id, scope, position)


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
    return await line_calls.billed_calls(session, organization_id, scope, line, after=after, limit=limit)


async def ensure_partitions(session: WriteSession, *, now: datetime) -> int:
    """Make the coming months' partitions of calls and attempts; answers how many were new."""
    return await store.ensure_partitions(session, now=now, months=PARTITION_MONTHS)
