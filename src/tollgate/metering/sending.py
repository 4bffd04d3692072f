"""Sending: settlements on their way to the ledger, in batches, again and again until it has them.

Sending twice records once, so whatever is in doubt is sent again. A ledger that is away holds up everybody's; a record
that keeps failing holds up nobody else's.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

import asyncpg
import structlog

from tollgate.infra import telemetry
from tollgate.infra.batching import Batcher, Pace, Patience
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable
from tollgate.metering import letters, rules, store
from tollgate.metering.model import Settled, Settlement
from tollgate.metering.safekeeping import Safekeeping

LEDGER_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What lies between us and the ledger and passes: a restart, a failover, a deadlock, a full disk, a deployment."""
NOT_RECORDABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What is wrong with a record itself, and stays wrong however often it is sent."""
BATCH_MAX = 256
_INTERVAL_MS = 2
"""Between batches: two calls in one cost the ledger little more than one, and it is what is used up first."""
_OVERDUE_MS = 50
_STRAGGLERS_AT_ONCE_MAX = 2

_RETRY_MILLISECONDS = (50, 100, 250, 500, 1000)
"""How long a batch waits between its tries. After the last of them a ledger that answers others has something against
this batch, whose settlements go on one by one; one that answers nobody is waited for."""
_RETRY_ALONE_SECONDS_MAX = 60
_PING_SECONDS_MAX = 2

_Straggler: TypeAlias = asyncio.Task[Settled | BaseException]
_Answer: TypeAlias = Settled | BaseException | _Straggler

_log = structlog.get_logger(__name__)


def pace_of(statement: str) -> Pace:
    """How the batches of one statement follow each other."""
    return Pace(_INTERVAL_MS, _OVERDUE_MS, telemetry.BATCHES_OVERTAKEN.labels(statement).inc)


class Sender:
    """One process's settlements under way."""

    def __init__(self, ledger: store.Ledger, clock: Clock, safe: Safekeeping, *, patience_seconds: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._safe = safe
        self._patience_seconds = patience_seconds
        self._batches: Batcher[Settlement, _Answer] = Batcher(
            self._settle, size_max=BATCH_MAX, patience=Patience(patience_seconds), pace=pace_of("settle")
        )
        self._stragglers: set[_Straggler] = set()
        self._stragglers_at_once = asyncio.Semaphore(_STRAGGLERS_AT_ONCE_MAX)

    async def send(self, settlement: Settlement) -> Settled | BaseException:
        """Have the ledger record a settlement, or say why it never will.

        Neither cancelling the waiting nor its end cancels the sending, however long that takes.

        Raises:
            TimeoutError: it takes longer than our patience lasts.
        """
        answer = await self._batches.submit(settlement)
        if isinstance(answer, asyncio.Task):
            async with asyncio.timeout(self._patience_seconds):
                return await asyncio.shield(answer)
        return answer

    @property
    def unrecorded(self) -> int:
        """How many settlements are under way."""
        return self._batches.unanswered + len(self._stragglers)

    async def drained(self) -> None:
        """Wait until every settlement under way is recorded."""
        await self._batches.drained()
        while self._stragglers:
            await asyncio.wait(self._stragglers)

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[_Answer]:
        telemetry.BATCHES.labels("settle").observe(len(settlements))
        tries = 0
        while True:
            try:
                return await self._record(settlements)
            except NOT_RECORDABLE as error:
                return await self._settle_apart(settlements, error)
            except LEDGER_AWAY as error:
                telemetry.SETTLE_RETRIES.inc()
                _log.warning("settlement is sent again", calls=len(settlements), error=_name(error))
                await asyncio.sleep(_RETRY_MILLISECONDS[min(tries, len(_RETRY_MILLISECONDS) - 1)] / 1000)
                tries += 1
            if tries >= len(_RETRY_MILLISECONDS) and await self._answers():
                return [self._sent_alone(settlement) for settlement in settlements]

    async def _record(self, settlements: Sequence[Settlement]) -> list[Settled]:
        settled = await store.settle(self._ledger, settlements, now=self._clock.now())
        await self._safe.forget([each.call_id for each in settled])
        return settled

    async def _answers(self) -> bool:
        """Whether the ledger answers anything at all, and may be written to: after a failover it may not yet."""
        try:
            return await store.takes_writes(self._ledger, seconds_max=_PING_SECONDS_MAX)
        except LEDGER_AWAY:
            return False

    async def _settle_apart(self, settlements: Sequence[Settlement], error: Exception) -> Sequence[_Answer]:
        """One record the database refuses must not sink the others of its batch."""
        if len(settlements) > 1:
            return [answer for settlement in settlements for answer in await self._settle([settlement])]
        bare = _bared(settlements[0], error)
        return [await self._given_up(settlements[0], error)] if bare is None else await self._settle([bare])

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
                    (settled,) = await self._record([settlement])
            except NOT_RECORDABLE as error:
                bare = _bared(settlement, error)
                if bare is None:
                    return await self._given_up(settlement, error)
                settlement, seconds = bare, 0
            except LEDGER_AWAY as error:
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

    async def _given_up(self, settlement: Settlement, error: Exception) -> Exception:
        """Put a record aside that can never be kept as it is, and tell whoever watches."""
        call = settlement.call
        telemetry.UNSETTLED.inc()
        _log.error(
            "call could not be recorded",
            call_id=str(call.call_id),
            organization_id=str(call.organization_id),
            amount=str(call.amount),
            error=_name(error),
        )
        try:
            await self._safe.put_aside({call.call_id: letters.written(settlement)}, _name(error), self._clock.now())
        except LedgerUnavailable as reason:
            _log.error("call is in this log alone", call_id=str(call.call_id), error=type(reason).__name__)
        return error


def _bared(settlement: Settlement, error: Exception) -> Settlement | None:
    """The refused settlement without its decorations: what a caller or a provider wrote makes no call free.

    `None` if it had none.
    """
    bare = rules.bare(settlement)
    if bare == settlement:
        return None
    _log.error("call is recorded without its decorations", call_id=str(bare.call.call_id), error=_name(error))
    return bare


def _name(error: Exception) -> str:
    """What kind of error it is. Its message may quote records, and those are nothing for a log."""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".rstrip()
