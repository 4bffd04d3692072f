"""A whole installation that may be hurt: PostgreSQL, gateways behind doors of their own, a worker, and a provider."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import httpx2
from tests.crashes.door import Door, doors
from tests.crashes.script import Play
from tests.gateway.fake_provider import FakeProvider
from tests.gateway.installation import Installation, founded, free_port, is_ready

from tollgate.infra import children, estate, spool
from tollgate.infra import database as databases
from tollgate.infra.children import Child
from tollgate.infra.database import Database
from tollgate.infra.embedded_postgres import EmbeddedPostgres
from tollgate.metering import safekeeping

GATEWAYS = 3
DRAIN_SECONDS = 3
SETTLE_SECONDS = 2
STOP_SECONDS_MAX = DRAIN_SECONDS + SETTLE_SECONDS + 10
SETTINGS = {
    "CONNECT_TIMEOUT_SECONDS": "5",
    "FIRST_BYTE_TIMEOUT_SECONDS": "60",
    "IDLE_TIMEOUT_SECONDS": "60",
    "DRAIN_TIMEOUT_SECONDS": str(DRAIN_SECONDS),
    "SETTLE_TIMEOUT_SECONDS": str(SETTLE_SECONDS),
    "ALLOW_PRIVATE_UPSTREAMS": "1",
}


@dataclass
class Part:
    """A process with its children, of those that `serve` starts."""

    environment: Mapping[str, str]
    child: Child | None = None

    @property
    def process(self) -> Child:
        """The one that runs, or ran last."""
        assert self.child is not None
        return self.child

    async def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    async def restart(self) -> None:
        """Start it again, whatever is left of it."""
        await self.kill()
        await self.start()

    async def kill(self) -> None:
        """End all its processes at once, by SIGKILL."""
        self.process.kill()
        await self.process.stop(patience_seconds=0)

    async def stop(self) -> None:
        """Stop it in good order."""
        if self.child is not None:
            await self.child.stop(patience_seconds=STOP_SECONDS_MAX)


@dataclass
class Worker(Part):
    """The background jobs."""

    async def start(self) -> None:
        self.child = await children.start("worker", [sys.executable, "-m", "tollgate", "worker"], self.environment)


@dataclass
class GatewayGroup(Part):
    """A gateway: a main process and the workers that take its calls."""

    door: Door = field(kw_only=True)
    port: int = field(default_factory=free_port)
    workers: int = 1

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    async def start(self) -> None:
        """Start it; it answers when this returns."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        command = [sys.executable, "-m", "tollgate.entrypoints.gateway_process", *options]
        self.child = await children.start("gateway", command, self.environment)
        self.child.begin()
        assert await is_ready(self.port, self.process), "the gateway did not start"

    async def come_back(self) -> None:
        """Wait until it answers again after a worker's death; one that gave up is started anew, as by a supervisor.

        It does when the same worker dies twice within seconds.
        """
        if not await is_ready(self.port, self.process):
            await self.restart()

    def worker_pids(self) -> list[int]:
        """The processes that take calls."""
        main = self.process._process.pid
        return [
            child
            for child in map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())
            if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def kill_workers(self) -> None:
        """End the processes that take calls, not the one that started them."""
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def kill_worker(self, place: int) -> None:
        """End one of the processes that take calls."""
        os.kill(sorted(self.worker_pids())[place], signal.SIGKILL)


@dataclass
class Plant:
    """Everything, and the ways to hurt it."""

    data_dir: Path
    postgres: EmbeddedPostgres
    gateways: list[GatewayGroup]
    worker: Worker
    doors: list[Door]
    """Those of the gateways, in their order, then the worker's, then the tests' own."""
    play: Play
    installation: Installation
    database: Database
    http: httpx.AsyncClient
    dice: random.Random

    @property
    def parts(self) -> list[Part]:
        """Everything but the database."""
        return [*self.gateways, self.worker]

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The tests' own way into the database."""
        return self.installation.pool

    @property
    def unclaimed(self) -> list[str]:
        """What lies in the data directory that nobody living has done with: estates of the dead, and full spools."""
        estates = [path for ledger in (self.data_dir / safekeeping.FOLDER).iterdir() for path in estate.all_in(ledger)]
        living = 1 + sum(len(gateway.worker_pids()) for gateway in self.gateways if not gateway.process.has_ended)
        waiting = {path.name: spool.depth(path / safekeeping.SPOOL_FILE) for path in estates}
        left = [f"{len(estates)} estates of {living} processes"] if len(estates) > living else []
        return left + [
            f"in the spool of {name}: {depth}" for name, depth in waiting.items() if depth.waiting or depth.refused
        ]

    async def stop_postgres(self) -> None:
        """End PostgreSQL as `pg_ctl stop -m immediate` does: no goodbye, and a recovery at the next start."""
        server = self.postgres._server
        assert server is not None
        server.send_signal(signal.SIGQUIT)
        for door in self.doors:
            door.shut()
        await server.wait()
        await self.postgres.stop()

    async def mend(self) -> None:
        """Have everything run again that a round left dead, for those that follow."""
        self.play.let_all_go_on()
        for door in self.doors:
            door.let_go()
        if self.postgres._server is None:
            await self.start_postgres()
        for part in self.parts:
            if part.process.has_ended:
                await part.restart()

    async def start_postgres(self) -> None:
        await self.postgres.start()
        for door in self.doors:
            await door.open(self.postgres.url)


@asynccontextmanager
async def plant(data_dir: Path, dice: random.Random) -> AsyncIterator[Plant]:
    """An installation on a migrated database, everything running; the provider's play is still to be written."""
    async with AsyncExitStack() as held:
        postgres = EmbeddedPostgres(data_dir)
        held.push_async_callback(postgres.stop)
        await postgres.start()
        ways = await held.enter_async_context(doors(GATEWAYS + 2))
        for door in ways:
            await door.open(postgres.url)
        url = ways[-1].url(postgres.url)
        operator_key = await founded(url)
        gateways = [
            GatewayGroup(_environment(data_dir, door.url(postgres.url)), door=door, workers=1 + (place == 0))
            for place, door in enumerate(ways[:GATEWAYS])
        ]
        worker = Worker(_environment(data_dir, ways[GATEWAYS].url(postgres.url)))
        parts: list[Part] = [*gateways, worker]
        held.push_async_callback(_stop_all, parts)
        await asyncio.gather(*(part.start() for part in parts))
        database = databases.connect(url, connections_max=1)
        held.push_async_callback(database.close)
        pool = await held.enter_async_context(asyncpg.create_pool(url, min_size=0, max_size=3))
        limits = httpx.Limits(max_connections=500)
        http = await held.enter_async_context(
            httpx.AsyncClient(base_url=gateways[0].base_url, timeout=120, limits=limits)
        )
        sdk_http = await held.enter_async_context(httpx2.AsyncClient())
        provider = await held.enter_async_context(FakeProvider().listening())
        made = Installation(gateways[0].base_url, url, http, sdk_http, operator_key, pool, provider)
        yield Plant(data_dir, postgres, gateways, worker, ways, Play(), made, database, http, dice)


def _environment(data_dir: Path, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    given = {**SETTINGS, "DATABASE_URL": database_url, "DATA_DIR": str(data_dir)}
    return {**inherited, **{f"TOLLGATE_{name}": value for name, value in given.items()}}


async def _stop_all(parts: Sequence[Part]) -> None:
    await asyncio.gather(*(part.stop() for part in parts))
