"""Recovery: no hold and no call outlives its process for long, and what was delivered is recorded.

A living process renews the leases of its holds and has the letters of its calls in the database. A dead one's estate
goes to any process of the same data directory, within seconds. If the whole machine is lost, the leases end, and
whoever sweeps settles its calls by the letters in the database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from tollgate.infra import estate, telemetry
from tollgate.infra.estate import Estate
from tollgate.kit import ids
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId
from tollgate.metering import letters, safekeeping, store
from tollgate.metering.letters import Unreadable
from tollgate.metering.model import Settlement
from tollgate.metering.sending import LEDGER_AWAY
from tollgate.metering.service import ADMIT_SECONDS_MAX, Meter, NeverRecorded

CHECKPOINT_SECONDS = 1
ADOPT_SECONDS = 2
SWEEP_SECONDS = 10
SWEEP_GAP = timedelta(seconds=60)
"""After so long without a sweep leases begin anew: the database was away, and nobody could renew them."""

_YOUNG = timedelta(seconds=1)
"""Calls that have just begun are left to the journal: most have ended before their letter would be in the database."""
_UNKNOWN_AFTER = timedelta(seconds=ADMIT_SECONDS_MAX + 5)
_RENEW_SECONDS = 5
_AFTERMATH = timedelta(minutes=5)
"""How long a dead process's last admissions may still wait in the database for a lock."""
_CLOCKS_APART_MAX = timedelta(seconds=30)
_CHECKPOINTS_MAX = 1024
_SWEPT_MAX = 1024

_log = structlog.get_logger(__name__)


async def folder_of(pool: "asyncpg.Pool[asyncpg.Record]", data_dir: Path) -> Path:
    """Where processes that meter for this ledger have their estates."""
    return data_dir / safekeeping.FOLDER / await store.ledger_id(pool)


class Recovery:
    """One process's part in it. Any number of processes may do the same at once."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, meter: Meter, folder: Path) -> None:
        self.folder = folder
        self._pool = pool
        self._clock = clock
        self._meter = meter
        self._unreadable: set[UUID] = set()
        self._taken_over: dict[UUID, datetime] = {}

    async def run(self) -> None:
        """Do everything that is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(CHECKPOINT_SECONDS, self.checkpoint))
            tasks.create_task(_every(_RENEW_SECONDS, self.renew))
            tasks.create_task(_every(ADOPT_SECONDS, self.adopt))
            tasks.create_task(_every(SWEEP_SECONDS, self.sweep))

    async def checkpoint(self) -> None:
        """Have the database know how far the calls of this process have come, and which it does not make after all."""
        await self._meter.give_back_unwanted()
        begun_before = ids.lowest_uuid7(self._clock.now() - _YOUNG)
        while new := self._meter.safe.unsaved(begun_before=begun_before, most=_CHECKPOINTS_MAX):
            await store.checkpoint(self._pool, new)
            self._meter.safe.saved(new)

    async def renew(self) -> None:
        """Let the leases of this process's calls last on, and end those of holds that no call of it has."""
        safe = self._meter.safe
        await self._end_what_came_after()
        database_time = await store.renew_leases(
            self._pool, safe.process_id, safe.known, unknown_after=_UNKNOWN_AFTER, lease=self._meter.lease
        )
        apart = abs(database_time - self._clock.now())
        if apart > _CLOCKS_APART_MAX:
            # Windows are cut by the clock of the process that admits: a wrong one opens tomorrow's today.
            telemetry.CLOCKS_APART.inc()
            _log.error("the clocks of this process and of the database differ", seconds=int(apart.total_seconds()))

    async def _end_what_came_after(self) -> None:
        """End the leases of holds that dead processes took after they were taken over.

        An admission may wait in the database for longer than its process lives.
        """
        now = self._clock.now()
        self._taken_over = {dead: at for dead, at in self._taken_over.items() if now - at < _AFTERMATH}
        for dead in self._taken_over:
            await store.inherit_holds(
                self._pool, dead=dead, heir=self._meter.safe.process_id, left=[], lease=self._meter.lease
            )

    async def adopt(self) -> int:
        """Take over what processes left that are gone; answers how many there were."""
        adopted = 0
        for dead in estate.inherited(self.folder):
            try:
                adopted += await self._take_over(dead)
            except BaseException:
                dead.leave()
                raise
        if adopted:
            await self.sweep()
        return adopted

    async def _take_over(self, dead: Estate) -> bool:
        """Whether it could be read, and everything in it is ours now."""
        try:
            remains = await asyncio.to_thread(safekeeping.remains_of, dead)
        except OSError as error:
            if dead.process_id not in self._unreadable:
                self._unreadable.add(dead.process_id)
                telemetry.SAFEKEEPING_FAILURES.labels("estate").inc()
                _log.error("what a dead process left cannot be read", path=str(dead.path), error=str(error))
            dead.leave()
            return False
        left, garbled = _opened(remains.letters)
        await self._put_aside({**remains.refused, **garbled})
        await store.inherit_holds(
            self._pool,
            dead=dead.process_id,
            heir=self._meter.safe.process_id,
            left=list(left),
            lease=self._meter.lease,
        )
        for settlement in left.values():
            # Ours from here on, and known to be: its hold is renewed until it is settled.
            self._meter.note(settlement)
        _log.warning("took over from a dead process", process=str(dead.process_id), calls=len(left))
        await self._settle(left.values(), by="heir")
        if remains.damaged_bytes:
            telemetry.SAFEKEEPING_FAILURES.labels("journal").inc()
            _log.error("the journal of a dead process is damaged", path=str(dead.path), bytes=remains.damaged_bytes)
            dead.set_aside()
        else:
            dead.remove()
        self._taken_over[dead.process_id] = self._clock.now()
        return True

    async def sweep(self) -> int:
        """Settle calls whose leases are over by what is known of them, and give the other holds back; how many.

        One process at a time does this; the others find nothing to do.
        """
        async with self._pool.acquire() as turn, turn.transaction():
            if not await store.begin_sweep(turn, gap=SWEEP_GAP, lease=self._meter.lease):
                return 0
            lost, garbled = _opened(await store.expired_checkpoints(self._pool, most=_SWEPT_MAX))
            await self._put_aside(garbled)
            refused = await self._settle(lost.values(), by="sweep")
            await store.drop_checkpoints(self._pool, [*garbled, *refused])
            released = await store.release_expired_holds(self._pool, now=self._clock.now())
        if released:
            telemetry.EXPIRED_HOLDS.inc(released)
            _log.warning("holds were given back that no process had", holds=released)
        return len(lost) + released

    async def _settle(self, settlements: Collection[Settlement], *, by: str) -> list[CallId]:
        """Settle them all; answers those that the ledger never takes, for which no other has to wait."""
        settling = [self._meter.settle(settlement) for settlement in settlements]
        outcomes = await asyncio.gather(*settling, return_exceptions=True)
        refused: list[CallId] = []
        for settlement, outcome in zip(settlements, outcomes, strict=True):
            if isinstance(outcome, NeverRecorded):
                refused.append(settlement.call.call_id)
            elif outcome is not None:
                raise outcome
        telemetry.RECOVERED.labels(by).inc(len(settling) - len(refused))
        return refused

    async def _put_aside(self, refused: Mapping[CallId, tuple[bytes, str]]) -> None:
        for call_id, (letter, why) in refused.items():
            await self._meter.safe.put_aside({call_id: letter}, why, self._clock.now())


def _opened(
    found: Mapping[CallId, bytes],
) -> tuple[dict[CallId, Settlement], dict[CallId, tuple[bytes, str]]]:
    """The settlements in letters; and the letters that nobody can read, which should not be."""
    read: dict[CallId, Settlement] = {}
    garbled: dict[CallId, tuple[bytes, str]] = {}
    for call_id, letter in found.items():
        try:
            read[call_id] = letters.read(letter)
        except Unreadable as error:
            garbled[call_id] = (letter, f"unreadable: {error}")
            telemetry.UNSETTLED.inc()
            _log.error("what a dead process left of a call cannot be read", call_id=str(call_id), error=str(error))
    return read, garbled


async def _every(seconds: int, work: Callable[[], Awaitable[object]]) -> None:
    is_waiting = False
    while True:
        try:
            await work()
            is_waiting = False
        except (*LEDGER_AWAY, LedgerUnavailable) as error:
            if not is_waiting:
                _log.warning("recovery waits for the ledger", work=work.__name__, error=type(error).__name__)
            is_waiting = True
        await asyncio.sleep(seconds)
