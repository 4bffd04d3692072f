"""Snapshot: the catalogue and the price book in memory, replaced as a whole whenever either changes.

PostgreSQL announces changes on the channel `catalogue_changed`; a process that missed the announcement learns of it
from its next admission, which compares revisions.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.catalog import service as catalog
from tollgate.catalog.model import Catalogue
from tollgate.infra import announcements
from tollgate.infra.database import DATABASE_AWAY, Database
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError
from tollgate.pricing import service as pricing
from tollgate.pricing.model import PriceBook

CHANNEL = "catalogue_changed"
REFRESH_SECONDS = 30.0
"""How often the revision is compared even if nothing was announced."""
_RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Catalogue and prices of one revision."""

    catalogue: Catalogue
    book: PriceBook

    @property
    def revision(self) -> int:
        return self.catalogue.revision


class Shelf:
    """Where the current snapshot stands."""

    def __init__(self, database: Database, clock: Clock, *, database_url: str) -> None:
        self._database = database
        self._clock = clock
        self._database_url = database_url
        self._current: Snapshot | None = None
        self._refreshing: asyncio.Lock = asyncio.Lock()
        self._changed = asyncio.Event()

    async def current(self) -> Snapshot:
        """The snapshot to plan with."""
        return self._current if self._current is not None else await self.refresh(stale=None)

    async def newer_than(self, snapshot: Snapshot) -> Snapshot | None:
        """A newer snapshot, if there is one: nothing is refused for what another process has just changed."""
        async with self._database.read() as session:
            if await catalog.current_revision(session) == snapshot.revision:
                return None
        return await self.refresh(stale=snapshot)

    async def refresh(self, *, stale: Snapshot | None) -> Snapshot:
        """Load a snapshot newer than the stale one; callers who find the same one stale share the loading."""
        async with self._refreshing:
            if self._current is not None and self._current is not stale:
                return self._current
            async with self._database.read() as session:
                catalogue = await catalog.load_catalogue(session)
                book = await pricing.load_book(session, now=self._clock.now())
            self._current = Snapshot(catalogue, book)
            return self._current

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Shelf"]:
        """Follow changes for as long as the block runs."""
        refreshing = asyncio.create_task(self._follow())
        try:
            # What changed while nobody listened was announced to nobody: every connection begins with a look.
            async with announcements.follow(
                self._database_url, CHANNEL, heard=lambda _: self._changed.set(), connected=self._changed.set
            ):
                yield self
        finally:
            refreshing.cancel()
            await asyncio.wait([refreshing])

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            try:
                # Loading a large catalogue for nothing would hold up calls.
                await self.newer_than(await self.current())
            except (*DATABASE_AWAY, SQLAlchemyError, TollgateError) as error:
                _log.warning("catalogue could not be refreshed", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
