"""The control plane of one test: the application as it is served, driven in this very process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import asyncpg
import httpx
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from tests.conftest import NOON, a_copy

from tollgate.entrypoints import http
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.infra.settings import Settings
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import PLATFORM
from tollgate.kit.principal import KeyKind


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What a test drives, and what it may look into."""

    app: Litestar
    client: httpx.AsyncClient
    database: Database
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: FixedClock
    operator_key: str

    async def call(self, method: str, path: str, *, key: str | None = None, **rest: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.operator_key}", **rest.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **rest)

    async def an_organization(self, name: str = "Acme", **body: Any) -> str:
        """The id of a new organization."""
        answer = await self.call("POST", "/admin/organizations", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])

    async def a_key(self, organization: str, kind: str = "management", **body: Any) -> str:
        """The text of a new key."""
        path = f"/admin/organizations/{organization}/keys"
        answer = await self.call("POST", path, json={"kind": kind, "name": f"a {kind} key", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    async def a_manager(self, name: str = "Acme") -> str:
        """The text of a management key of a new organization."""
        return await self.a_key(await self.an_organization(name))


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[None]:
    """The application between its start and its end, both in one task, as it needs them and fixtures are not."""
    started, ending = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.lifespan():
            started.set()
            await ending.wait()

    whole, beginning = asyncio.create_task(run()), asyncio.create_task(started.wait())
    await asyncio.wait([whole, beginning], return_when=asyncio.FIRST_COMPLETED)
    beginning.cancel()
    try:
        if started.is_set():
            yield
    finally:
        ending.set()
        await whole


async def nowhere(name: str) -> tuple[str, ...]:
    """A network without names."""
    del name
    return ()


@asynccontextmanager
async def control_plane(
    database: Database,
    pool: "asyncpg.Pool[asyncpg.Record]",
    clock: FixedClock,
    *,
    database_url: str,
    more: tuple[ControllerRouterHandler, ...] = (),
    configured: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[ControlPlane]:
    """A control plane with one operator key; `more` adds handlers of the test's own, `configured` settings."""
    async with database.write() as session:
        order = NewKey(PLATFORM, KeyKind.OPERATOR, "operator")
        minted = await keys.create(session, order=order, now=clock.now())
    handlers = (*http.CONTROL_PLANE, *(each for each in more if each not in http.CONTROL_PLANE))
    with TemporaryDirectory(prefix="tollgate-") as folder:
        settings = Settings(database_url, data_dir=Path(folder), **configured)
        app: Any = http.build(settings, environment={}, clock=clock, handlers=handlers, resolve=nowhere)
        async with running(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://tollgate.test") as client:
                yield ControlPlane(app, client, database, pool, clock, minted.text)


@asynccontextmanager
async def shared_control_plane(
    server_url: str,
    template: str,
    name: str,
    *,
    more: tuple[ControllerRouterHandler, ...] = (),
    configured: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[ControlPlane]:
    """A control plane for the tests of a whole module, on a database of its own, at the clock of every test."""
    clock = FixedClock(NOON)
    async with a_copy(server_url, template, f"{template}_{name}") as url:
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=8)
        async with control_plane(database, pool, clock, database_url=url, more=more, configured=configured) as opened:
            yield opened
        await pool.close()
        await database.close()
