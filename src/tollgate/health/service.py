"""Health: what this process has seen of endpoints, told to the other processes, and what they have told.

Calls ask it which endpoints are in a condition to be tried, and say how their attempts ended: all in memory. In the
background it writes down what changed, reads what others wrote, and looks whether endpoints can be reached again. While
the database is away each process knows what it has seen itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias, TypeVar

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.health import rules, store
from tollgate.health.model import HEALTHY, UNSEEN, Circuit, Condition, Fault, Fitness, Track, Trouble
from tollgate.infra import telemetry
from tollgate.infra.database import DATABASE_AWAY, ReadSession
from tollgate.kit.clock import Clock
from tollgate.kit.errors import Unavailable
from tollgate.kit.ids import EndpointId, OrganizationId
from tollgate.statistics.model import Standing

SHARE_SECONDS = 2.0
"""How old what other processes have seen may be."""
STANDINGS_EVERY = 5
"""Of so many times that circuits are read, how often the endpoints' last hour is read as well."""
LOOK_SECONDS = 0.5
"""How often endpoints that cannot be reached are gone through for those that it is time to look at."""
_RETRY_SECONDS = 1.0

Standings: TypeAlias = Callable[[datetime], Awaitable[Mapping[EndpointId, Standing]]]
"""How endpoints have been doing in the hour up to an instant. Raises DATABASE_AWAY."""
Reach: TypeAlias = Callable[[EndpointId], Awaitable[bool]]
"""Whether a connection to an endpoint comes about; nothing is asked of it."""
Work: TypeAlias = Callable[[], Awaitable[None]]
Lasting: TypeAlias = Callable[[Work], Awaitable[None]]
Item = TypeVar("Item")

_log = structlog.get_logger(__name__)


async def troubles(session: ReadSession) -> list[Trouble]:
    """The endpoints that processes leave alone, or try last, the longest in trouble first."""
    return await store.troubles(session)


async def _once(work: Work) -> None:
    """Where nobody begins it again."""
    await work()


async def _no_standings(_at: datetime) -> Mapping[EndpointId, Standing]:
    """Where nobody keeps statistics."""
    return {}


class Health:
    """The health of endpoints, in one process."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        clock: Clock,
        *,
        reach: Reach,
        standings: Standings = _no_standings,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._reach = reach
        self._standings = standings
        self._tracks: dict[EndpointId, Track] = {}
        self._conditions: dict[EndpointId, Condition] = {}
        self._changed_at: dict[EndpointId, datetime] = {}
        """When this process last found out something of an endpoint's circuit."""
        self._unsaved: set[EndpointId] = set()
        """Endpoints whose circuit the database does not know as it is."""
        self._something_unsaved = asyncio.Event()

    @property
    def conditions(self) -> Mapping[EndpointId, Condition]:
        """What is known, now; of endpoints that are not in it, nothing but good."""
        return self._conditions

    def in_turn(self, planned: Sequence[Item], endpoint_of: Callable[[Item], EndpointId]) -> Iterator[Item]:
        """The planned ones, each when its turn comes; those that became unfit meanwhile after all others, if at all.

        Of endpoints on trial a call gets the trial together with its turn, and owes a word on how it ended: `served`,
        `failed` or `rested`.
        """
        later: list[Item] = []
        is_tried = False
        for item in planned:
            if self._is_taken(endpoint_of(item)):
                is_tried = True
                yield item
            else:
                later.append(item)
        for item in later:
            fitness = rules.fitness(self._conditions.get(endpoint_of(item), HEALTHY), at=self._clock.now())
            if not is_tried or fitness is not Fitness.UNFIT:
                is_tried = True
                yield item

    def _is_taken(self, endpoint_id: EndpointId) -> bool:
        """Whether the endpoint may be tried in its turn; takes its trial, if it is on one."""
        condition = self._conditions.get(endpoint_id, HEALTHY)
        if condition.circuit is None:
            return True
        fitness = rules.fitness(condition, at=self._clock.now())
        if fitness is Fitness.ON_TRIAL:
            self._conditions[endpoint_id] = replace(condition, tried_since=self._clock.now())
            return True
        # A doubtful one was planned for its place behind the others, unless another call has just taken its trial.
        return fitness is Fitness.DOUBTFUL and condition.tried_since is None

    def served(self, endpoint_id: EndpointId, *, by: OrganizationId, began_at: datetime) -> None:
        """An organization's attempt was answered."""
        before = self._tracks.get(endpoint_id, UNSEEN)
        self._keep(endpoint_id, before, rules.served(before, by=by, began_at=began_at))

    def failed(
        self,
        endpoint_id: EndpointId,
        fault: Fault,
        *,
        by: OrganizationId,
        began_at: datetime,
        wait_seconds: int | None = None,
    ) -> None:
        """An organization's attempt failed; `wait_seconds` if the provider said when to come back."""
        before, at = self._tracks.get(endpoint_id, UNSEEN), self._clock.now()
        after = rules.failed(before, fault, by=by, began_at=began_at, at=at, wait_seconds=wait_seconds)
        self._keep(endpoint_id, before, after)

    def rested(self, endpoint_id: EndpointId) -> None:
        """An attempt ended without telling anything of its endpoint."""
        condition = self._conditions.get(endpoint_id)
        if condition is not None and condition.tried_since is not None:
            self._conditions[endpoint_id] = replace(condition, tried_since=None)

    def _keep(self, endpoint_id: EndpointId, before: Track, after: Track) -> None:
        self.rested(endpoint_id)
        if after is before:
            return
        self._tracks[endpoint_id] = after
        if after.circuit == before.circuit:
            return
        self._changed(endpoint_id, after.circuit)
        if after.circuit is None:
            _log.info("endpoint serves again", endpoint_id=str(endpoint_id))
        else:
            telemetry.CIRCUIT_OPENINGS.labels(after.circuit.fault).inc()
            _log.warning(
                "endpoint is left alone",
                endpoint_id=str(endpoint_id),
                fault=after.circuit.fault,
                until=after.circuit.until.isoformat(),
            )

    def _changed(self, endpoint_id: EndpointId, circuit: Circuit | None) -> None:
        self._know(endpoint_id, circuit)
        self._changed_at[endpoint_id] = self._clock.now()
        self._unsaved.add(endpoint_id)
        self._something_unsaved.set()

    def _know(self, endpoint_id: EndpointId, circuit: Circuit | None) -> None:
        self._set(endpoint_id, replace(self._conditions.get(endpoint_id, HEALTHY), circuit=circuit))

    def _set(self, endpoint_id: EndpointId, condition: Condition) -> None:
        """Know a condition; of healthy endpoints there is nothing to know."""
        if condition == HEALTHY:
            self._conditions.pop(endpoint_id, None)
        else:
            self._conditions[endpoint_id] = condition

    @asynccontextmanager
    async def shared(self, lasting: Lasting = _once) -> AsyncIterator["Health"]:
        """Know what others know before the block begins, and share it for as long as it runs.

        `lasting` runs what goes on meanwhile, and begins it again if it fails.
        """
        await self._read(with_standings=True)
        work = (self._go_on_reading, self._go_on_saving, self._go_on_looking)
        tasks = [asyncio.ensure_future(lasting(each)) for each in work]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _go_on_reading(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            turn += 1
            await self._read(with_standings=turn % STANDINGS_EVERY == 0)

    async def _read(self, *, with_standings: bool) -> None:
        """Take over what others have seen. What this process saw meanwhile, or has not written down, is newer."""
        asked_at = self._clock.now()
        try:
            stored = await store.open_circuits(self._pool)
            standings = await self._standings(asked_at) if with_standings else None
        except (*DATABASE_AWAY, asyncpg.PostgresError, Unavailable, SQLAlchemyError) as error:
            _log.warning("health could not be read", error=type(error).__name__)
            return
        open_here = {endpoint_id for endpoint_id, track in self._tracks.items() if track.circuit is not None}
        for endpoint_id in (stored.keys() | open_here) - self._unsaved:
            track = self._tracks.get(endpoint_id, Track())
            told, changed_at = stored.get(endpoint_id), self._changed_at.get(endpoint_id)
            if track.circuit != told and (changed_at is None or changed_at < asked_at):
                self._tracks[endpoint_id] = Track() if told is None else replace(track, circuit=told)
                self._know(endpoint_id, told)
        if standings is not None:
            self._take_over(standings)

    def _take_over(self, standings: Mapping[EndpointId, Standing]) -> None:
        for endpoint_id in self._conditions.keys() | standings.keys():
            known = self._conditions.get(endpoint_id, HEALTHY)
            self._set(endpoint_id, replace(known, standing=standings.get(endpoint_id)))

    async def _go_on_saving(self) -> None:
        while True:
            await self._something_unsaved.wait()
            self._something_unsaved.clear()
            try:
                await self._save()
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                _log.warning("health could not be shared", error=type(error).__name__)
                self._something_unsaved.set()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _save(self) -> None:
        saved = {each: (self._tracks[each].circuit, self._changed_at[each]) for each in self._unsaved}
        await store.save(
            self._pool,
            opened={endpoint_id: circuit for endpoint_id, (circuit, _) in saved.items() if circuit is not None},
            closed={endpoint_id: at for endpoint_id, (circuit, at) in saved.items() if circuit is None},
        )
        # What changed while it was written is still to be written.
        self._unsaved -= {
            endpoint_id for endpoint_id, (circuit, _) in saved.items() if self._tracks[endpoint_id].circuit == circuit
        }

    async def _go_on_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._clock.now()
            due = [
                endpoint_id
                for endpoint_id, track in self._tracks.items()
                if track.circuit is not None and track.circuit.fault is Fault.UNREACHABLE and track.circuit.until <= now
            ]
            await asyncio.gather(*map(self._look, due))

    async def _look(self, endpoint_id: EndpointId) -> None:
        """See whether a connection comes about; a call may have found out meanwhile."""
        before = self._tracks[endpoint_id].circuit
        is_reachable = await self._reach(endpoint_id)
        track = self._tracks[endpoint_id]
        if before is not None and track.circuit == before:
            circuit = rules.looked_at(before, is_reachable=is_reachable, at=self._clock.now())
            self._tracks[endpoint_id] = replace(track, circuit=circuit)
            self._changed(endpoint_id, circuit)
