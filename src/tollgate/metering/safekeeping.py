"""Safekeeping: the calls that this process has begun and PostgreSQL has not recorded, kept where others find them.

Every call under way has its latest letter in the journal, which outlives the process. A settlement that the ledger does
not take in time moves to the spool, which outlives the machine. Either is forgotten when the ledger has it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar
from uuid import UUID

import structlog

from tollgate.infra import journal as journals
from tollgate.infra import spool as spools
from tollgate.infra import telemetry
from tollgate.infra.batching import Batcher
from tollgate.infra.estate import Estate
from tollgate.infra.journal import Journal
from tollgate.infra.spool import Spool
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.metering import letters
from tollgate.metering.model import Begun, Settlement

FOLDER = "spool"
"""Where processes have their estates, below the data directory."""
SPOOL_FILE = "spool.sqlite"
_JOURNAL_FILE = "journal"
_KEPT_TOGETHER_MAX = 256

Result = TypeVar("Result")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Open:
    """A call that is begun and not recorded."""

    organization_id: OrganizationId
    letter: bytes
    is_saved: bool = False
    """Whether the database has this very letter."""


class Safekeeping:
    """What one process keeps, in its estate. Not for threads."""

    def __init__(self, own: Estate) -> None:
        self.process_id = own.process_id
        self._estate = own
        self._journal = Journal(own.path / _JOURNAL_FILE)
        self._spool: Spool | None = None
        self._open: dict[CallId, _Open] = {}
        self._spooled: set[CallId] = set()
        self._is_closed = False
        self._keeping: Batcher[tuple[Mapping[CallId, bytes], datetime], None] = Batcher(
            self._keep_together, size_max=_KEPT_TOGETHER_MAX
        )
        # SQLite waits for the disk: in one thread, so that it does so in order.
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    @property
    def known(self) -> list[CallId]:
        """Every call that is begun and not recorded."""
        return [*self._open, *self._spooled]

    def note(self, settlement: Settlement) -> None:
        """Remember what to record of a call if this process dies now."""
        self._note(settlement.call.organization_id, settlement.call.call_id, letters.written(settlement))

    def begin(self, call: Begun) -> None:
        """Remember what a call leaves behind if this process dies now, of a call that begins."""
        self._note(call.organization_id, call.call_id, letters.begun(call))

    def _note(self, organization_id: OrganizationId, call_id: CallId, letter: bytes) -> None:
        self._open[call_id] = _Open(organization_id, letter)
        try:
            self._journal.note(call_id, letter)
        except OSError as error:
            # The call goes on: it is in danger only if we die before it is recorded.
            _told_of_failure("journal", error)

    def unsaved(self, *, begun_before: UUID, most: int) -> list[tuple[OrganizationId, CallId, bytes]]:
        """Letters the database does not have, of calls that were begun a while ago."""
        found = (
            (each.organization_id, call_id, each.letter)
            for call_id, each in self._open.items()
            if not each.is_saved and call_id < begun_before
        )
        return list(islice(found, most))

    def saved(self, saved: Iterable[tuple[OrganizationId, CallId, bytes]]) -> None:
        """The database has these very letters."""
        for _, call_id, letter in saved:
            each = self._open.get(call_id)
            if each is not None and each.letter is letter:
                each.is_saved = True

    async def keep(self, settlements: Sequence[Settlement], now: datetime) -> None:
        """Have settlements of noted calls on the disk: then their callers may be answered.

        Those that the ledger has taken or refused meanwhile stay as that left them.

        Raises:
            LedgerUnavailable: the disk does not take them either.
        """
        texts = {
            settlement.call.call_id: letters.written(settlement)
            for settlement in settlements
            if settlement.call.call_id in self._open
        }
        # From now on: if the ledger takes one meanwhile, it is to be dropped again.
        self._spooled.update(texts)
        try:
            await asyncio.shield(self._keeping.submit((texts, now)))
        except LedgerUnavailable:
            self._spooled.difference_update(texts)
            raise
        telemetry.SPOOLED.inc(len(texts))
        self._strike(texts)

    async def _keep_together(self, kept: Sequence[tuple[Mapping[CallId, bytes], datetime]]) -> Sequence[None]:
        """One wait for the disk for all that came while the last one lasted."""
        # Without those that were forgotten or put aside while they waited for this: nobody would drop them any more.
        texts = {call_id: text for each, _ in kept for call_id, text in each.items() if call_id in self._spooled}
        if texts:
            await self._on_disk(lambda: self._opened().keep(texts, kept[0][1]))
        return [None] * len(kept)

    async def put_aside(self, texts: Mapping[CallId, bytes], why: str, now: datetime) -> None:
        """Keep what the ledger will never take as it is, for a person to look at.

        Raises:
            LedgerUnavailable: the disk does not take it either.
        """
        await self._on_disk(lambda: self._opened().keep(texts, now, refused=why))
        self._spooled.difference_update(texts)
        self._strike(texts)

    async def forget(self, call_ids: Iterable[CallId]) -> None:
        """The ledger has these."""
        call_ids = list(call_ids)
        self._strike(call_ids)
        spooled = self._spooled.intersection(call_ids) if self._spooled else None
        if spooled:
            self._spooled -= spooled
            try:
                await self._on_disk(lambda: self._opened().drop(spooled))
            except LedgerUnavailable:
                return  # they will be sent once more, which changes nothing

    async def close(self) -> None:
        """Let go of the files. What is in them is left to the next process; if there is nothing, they are removed."""
        await asyncio.to_thread(self._disk.shutdown)
        self._journal.close()
        if self._spool is not None:
            self._spool.close()
        if self.known or spools.refused(self._estate.path / SPOOL_FILE):
            self._estate.leave()
        else:
            self._estate.remove()
        # A settlement may still be under way. Whether it arrives is now for whoever finds its letter to find out.
        self._is_closed = True
        self._open.clear()
        self._spooled.clear()

    def _strike(self, call_ids: Iterable[CallId]) -> None:
        struck = [call_id for call_id in call_ids if self._open.pop(call_id, None) is not None]
        try:
            self._journal.strike(struck)
        except OSError as error:
            _told_of_failure("journal", error)

    def _opened(self) -> Spool:
        """The spool, made when it is first needed: a disk that is full is no reason not to begin.

        Raises:
            OSError: it cannot be made, or somebody has deleted the folder: what is written there would be nowhere.
        """
        if not self._estate.is_there:
            raise FileNotFoundError(f"{self._estate.path} was deleted under a living process")
        if self._spool is None:
            self._spool = Spool(self._estate.path / SPOOL_FILE)
        return self._spool

    async def _on_disk(self, work: Callable[[], Result]) -> Result:
        if self._is_closed:
            raise LedgerUnavailable(metadata={"retry_after_seconds": 5})
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError as error:
            _told_of_failure("spool", error)
            raise LedgerUnavailable(metadata={"retry_after_seconds": 5}) from error


@dataclass(frozen=True, slots=True)
class Remains:
    """What a dead process left."""

    letters: Mapping[CallId, bytes]
    """The last word on each of its calls."""
    refused: Mapping[CallId, tuple[bytes, str]]
    """What the ledger never took, and why."""
    damaged_bytes: int = 0
    """How much of the journal says nothing any more."""


def remains_of(dead: Estate) -> Remains:
    """What lies in the estate of a process that is gone; waits for the disk.

    Raises:
        OSError: it cannot be read.
    """
    spool = dead.path / SPOOL_FILE
    # What was spooled is exact; whatever the journal has on the same call was written before.
    journal = journals.read(dead.path / _JOURNAL_FILE)
    found = {**journal.left, **spools.waiting(spool)}
    return Remains(
        {CallId(key): text for key, text in found.items()},
        {CallId(key): aside for key, aside in spools.refused(spool).items()},
        journal.damaged_bytes,
    )


def _told_of_failure(what: str, error: Exception) -> None:
    telemetry.SAFEKEEPING_FAILURES.labels(what).inc()
    _log.error("calls cannot be kept safe", file=what, error=f"{type(error).__name__}: {error}")
