"""Rounds: callers at work, something dies at a moment that has a name, and everything must come right by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from uuid import UUID

from tests.crashes.callers import Callers, Seen
from tests.crashes.plant import GatewayGroup
from tests.crashes.script import Script, Stop
from tests.crashes.truth import Findings, findings, until_quiet
from tests.gateway.installation import Customer

_MOMENT_SECONDS_MAX = 10
_ENDED_SECONDS_MAX = 60


class Point(StrEnum):
    """What a call has come to when its process dies."""

    ADMITTING = "inside admit, before its commit"
    ADMITTED = "after admit"
    FIRST_BYTE = "after the first upstream byte"
    MID_STREAM = "mid-stream"
    LAST_BYTE = "after the last byte"
    SETTLING = "inside settle, before its commit"
    SETTLED = "inside settle, after its commit"


class Victim(StrEnum):
    """What of a gateway dies."""

    GROUP = "all processes"
    WORKERS = "all workers"
    ONE_WORKER = "one worker"


@dataclass
class Load:
    """Calls that keep coming while its block lasts."""

    callers: Callers
    customers: Sequence[Customer]
    per_second: float
    spared: set[int] = field(default_factory=set)
    """The gateways that are not called now."""

    async def keep_coming(self) -> None:
        while True:
            self.one()
            await asyncio.sleep(1 / self.per_second)

    def one(self) -> None:
        dice = self.callers.plant.dice
        gateways = [place for place in range(len(self.callers.plant.gateways)) if place not in self.spared]
        script = Script(words=dice.randint(1, 9), pause=dice.choice((0, 0.01, 0.15)), refusals=int(dice.random() < 0.1))
        self.callers.call(dice.choice(self.customers), dice.choice(gateways), script, streamed=dice.random() < 0.6)


@asynccontextmanager
async def load(callers: Callers, customers: Sequence[Customer], *, per_second: float) -> AsyncIterator[Load]:
    """Calls to all gateways, until the block ends; those that were sent then are still under way."""
    going = Load(callers, customers, per_second)
    coming = asyncio.create_task(going.keep_coming())
    try:
        yield going
    finally:
        coming.cancel()
        await asyncio.wait([coming])


async def settled_down(callers: Callers, before: set[str], *, killed_at: float | None = None) -> Findings:
    """Wait until every caller knows what became of its call and nothing is under way; what is wrong then."""
    await callers.all_ended(seconds_max=_ENDED_SECONDS_MAX)
    seconds = await until_quiet(callers)
    found = await findings(callers, [marker for marker in callers.seen if marker not in before], killed_at=killed_at)
    found.seconds = seconds
    return found


@dataclass
class KillRound:
    """One gateway with a call at each of these points, and its end."""

    callers: Callers
    going: Load
    gateway: int
    private: Callable[[], Awaitable[Customer]]
    """Makes a customer whom nobody else waits for."""
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    triggers: list[Script] = field(default_factory=list)
    """Whose provider goes on in the very moment of the kill."""
    killed_at: float = 0
    locked_seconds: float = 0.3
    """How long what the calls wait for in the database is kept from them after their death."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.callers.plant.play.let_all_go_on()
        await self.held.aclose()

    @property
    def _group(self) -> GatewayGroup:
        return self.callers.plant.gateways[self.gateway]

    async def bring(self, point: Point, customer: Customer, *, streamed: bool, seconds: float = 0) -> None:
        """Have a call come to this point, a stream that takes so long to get there, and stay there."""
        async with asyncio.timeout(_MOMENT_SECONDS_MAX + seconds):
            match point:
                case Point.ADMITTING:
                    await self._admitting(streamed=streamed)
                case Point.ADMITTED:
                    await self._admitted(customer, streamed=streamed)
                case Point.FIRST_BYTE | Point.MID_STREAM | Point.LAST_BYTE:
                    await self._answering(Stop[point.name], customer, streamed=streamed, seconds=seconds)
                case Point.SETTLING:
                    await self._settling(streamed=streamed)
                case Point.SETTLED:
                    moment = self._group.door.hold_back("settle_and_flush(")
                    self._call(customer, Script(), streamed=streamed)
                    await moment.came.wait()

    async def end(self, victim: Victim) -> None:
        """Kill what is to die, let everything else go on, and have the gateway answer again."""
        for script in self.triggers:
            script.afterwards = lambda: self._strike(victim)
            script.go_on.set()
        if not self.triggers:
            self._strike(victim)
        async with asyncio.timeout(_MOMENT_SECONDS_MAX):
            while not self.killed_at:  # noqa: ASYNC110 - the provider strikes in the middle of a write
                await asyncio.sleep(0.001)
        self.callers.plant.play.let_all_go_on()
        self._group.door.let_go()
        await asyncio.sleep(self.locked_seconds)
        await self.held.aclose()
        if victim is Victim.GROUP:
            await self._group.restart()
        else:
            await self._group.come_back()

    def _strike(self, victim: Victim) -> None:
        if self.killed_at:
            return
        self.killed_at = asyncio.get_running_loop().time()
        match victim:
            case Victim.GROUP:
                self._group.process.kill()
            case Victim.WORKERS:
                self._group.kill_workers()
            case Victim.ONE_WORKER:
                self._group.kill_worker(self.callers.plant.dice.randrange(self._group.workers))

    def _call(self, customer: Customer, script: Script, *, streamed: bool) -> "asyncio.Task[Seen]":
        script.is_victim = True
        return self.callers.call(customer, self.gateway, script, streamed=streamed)

    async def _admitted(self, customer: Customer, *, streamed: bool) -> None:
        # Of other calls' admissions none may come in between.
        self.going.spared.add(self.gateway)
        await asyncio.sleep(0.1)
        moment = self._group.door.hold_back("admit(")
        self._call(customer, Script(), streamed=streamed)
        await moment.came.wait()

    async def _answering(self, stop: Stop, customer: Customer, *, streamed: bool, seconds: float) -> None:
        words = 1 + int(10 * seconds) if streamed and seconds else 8
        script = Script(words=2 * words, pause=seconds / words, stop=stop)
        self._call(customer, script, streamed=streamed)
        await script.reached.wait()
        if stop is Stop.LAST_BYTE:
            self.triggers.append(script)

    async def _settling(self, *, streamed: bool) -> None:
        customer = await self.private()
        # A settlement that waits has everyone of its batch wait: there must be no others.
        self.going.spared.add(self.gateway)
        while self.callers.are_under_way(self.gateway):  # noqa: ASYNC110 - it is over soon
            await asyncio.sleep(0.02)
        script = Script(stop=Stop.LAST_BYTE)
        self._call(customer, script, streamed=streamed)
        await script.reached.wait()
        await self.held.enter_async_context(_locked(self.callers, customer.organization_id))
        script.go_on.set()
        await self._waits_for_lock("%settle_and_flush(%")

    async def _admitting(self, *, streamed: bool) -> None:
        customer = await self.private()
        self.going.spared.add(self.gateway)
        # There is nothing to lock before somebody's first call.
        await self.callers.call(customer, self.gateway, Script(), streamed=False)
        await self.held.enter_async_context(_locked(self.callers, customer.organization_id))
        self._call(customer, Script(), streamed=streamed)
        await self._waits_for_lock("%admit(%")

    async def _waits_for_lock(self, statement: str) -> None:
        while not await self.callers.plant.pool.fetchval(_WAITING, statement):  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.02)


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"


@asynccontextmanager
async def _locked(callers: Callers, organization_id: UUID) -> AsyncIterator[None]:
    """Nobody else moves the organization's counters while this lasts."""
    async with callers.plant.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM counters WHERE organization_id = $1 FOR UPDATE", organization_id)
        yield
