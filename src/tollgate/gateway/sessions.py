"""Sessions: where each session was served last, so that the next call finds its prompt in the same provider's cache.

A process remembers what it served itself and asks the database for the rest, once. What it serves elsewhere than before
it writes down in the background: a session that is found in the wrong place costs a cold cache and nothing more.
"""

import asyncio
import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta

import asyncpg
import structlog

from tollgate.gateway import store
from tollgate.gateway.model import Session
from tollgate.infra.database import DATABASE_AWAY, WriteSession
from tollgate.kit.clock import Clock
from tollgate.kit.ids import EndpointId, OrganizationId

KEPT_FOR = timedelta(hours=1)
"""How long a session is remembered after its last call: no provider keeps a prompt in its cache for longer."""
_TRUSTED_FOR = timedelta(seconds=30)
"""How long a process goes by what it knows itself: another one may have served the session since."""
_REFRESH_AFTER = KEPT_FOR / 4
"""A session that goes on in its place is written down again after so long."""
_ENTRIES_MAX = 50_000
_WRITES_MAX = 1_000
_ASK_SECONDS_MAX = 0.25
"""How long a call waits to learn where its session was served."""
_SAVE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


def session_of(organization_id: OrganizationId, session_id: str, model: str) -> Session:
    """A session's calls of one model: providers keep a cache for each."""
    return organization_id, hashlib.sha256(f"{model}\0{session_id}".encode("utf-8", "replace")).digest()[:16]


class Sessions:
    """The sessions this process knows."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._known: OrderedDict[Session, tuple[EndpointId | None, datetime]] = OrderedDict()
        self._written_at: dict[Session, datetime] = {}
        self._unsaved: dict[Session, EndpointId] = {}

    async def place_of(self, session: Session) -> EndpointId | None:
        """Where the session was served last; `None` if that is unknown, or too long ago."""
        known = self._known.get(session)
        if known is not None and known[1] > self._clock.now() - _TRUSTED_FOR:
            return known[0]
        try:
            async with asyncio.timeout(_ASK_SECONDS_MAX):
                found = await store.session_place(self._pool, session, since=self._clock.now() - KEPT_FOR)
        except (*DATABASE_AWAY, asyncpg.PostgresError):
            # Where the database is slow or away, the call goes where it would without a session.
            return None
        self._remember(session, found)
        return found

    def served(self, session: Session, endpoint_id: EndpointId) -> None:
        """A call of the session was answered there."""
        before, now = self._known.get(session), self._clock.now()
        self._remember(session, endpoint_id)
        is_due = self._written_at.get(session, now - KEPT_FOR) < now - _REFRESH_AFTER
        is_elsewhere = before is None or before[0] != endpoint_id
        if (is_due or is_elsewhere) and (session in self._unsaved or len(self._unsaved) < _WRITES_MAX):
            self._unsaved[session] = endpoint_id

    def _remember(self, session: Session, endpoint_id: EndpointId | None) -> None:
        self._known[session] = (endpoint_id, self._clock.now())
        self._known.move_to_end(session)
        if len(self._known) > _ENTRIES_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._written_at.pop(oldest, None)

    async def go_on_saving(self) -> None:
        """Write down, about once a second, where sessions were served."""
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await self.save()

    async def save(self) -> None:
        """Write down what is not written yet; what the database does not take is forgotten with the process."""
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        now = self._clock.now()
        try:
            await store.keep_session_places(self._pool, unsaved, now=now)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            _log.warning("sessions could not be written down", error=type(error).__name__)
            return
        self._written_at.update(dict.fromkeys(unsaved, now))


async def forget(session: WriteSession, *, now: datetime) -> None:
    """Forget, in the database, the sessions that are over."""
    await store.forget_session_places(session, before=now - KEPT_FOR)
