"""The control plane of one test: the real handlers, errors, key ring and idempotency, driven in this very process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from tollgate.accounts import routes as account_routes
from tollgate.entrypoints.errors import EXCEPTION_HANDLERS
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.idempotency import Idempotency, database_for
from tollgate.keys import routes as key_routes
from tollgate.keys import rules as key_rules
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import PLATFORM
from tollgate.kit.principal import KeyKind, Principal

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What a test drives, and what it may look into."""

    client: httpx.AsyncClient
    database: Database
    ring: KeyRing
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
async def control_plane(
    database: Database,
    pool: "asyncpg.Pool[asyncpg.Record]",
    clock: FixedClock,
    *,
    database_url: str,
    more: tuple[ControllerRouterHandler, ...] = (),
) -> AsyncIterator[ControlPlane]:
    """A control plane with one operator key; `more` adds handlers of the test's own."""
    async with database.write() as session:
        order = NewKey(PLATFORM, KeyKind.OPERATOR, "operator")
        minted = await keys.create(session, order=order, now=clock.now())
    async with KeyRing(pool, database_url=database_url).listening() as ring:
        app: Any = _app(database, ring, clock, more)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://tollgate.test") as client:
            yield ControlPlane(client, database, ring, clock, minted.text)


def _app(database: Database, ring: KeyRing, clock: FixedClock, more: tuple[ControllerRouterHandler, ...]) -> Litestar:
    async def bearer(request: AnyRequest, needed: KeyKind) -> Principal:
        principal = await ring.authenticate_headers(request.scope["headers"], clock.now())
        key_rules.check_kind(principal, needed)
        return principal

    async def operator(request: AnyRequest) -> Principal:
        return await bearer(request, KeyKind.OPERATOR)

    async def manager(request: AnyRequest) -> Principal:
        return await bearer(request, KeyKind.MANAGEMENT)

    def joined(request: AnyRequest) -> Database:
        return database_for(request, database)

    router = Router(
        "/api/v1",
        route_handlers=[*account_routes.HANDLERS, *key_routes.HANDLERS, *more],
        dependencies={
            "database": Provide(joined, sync_to_thread=False),
            "clock": Provide(lambda: clock, sync_to_thread=False),
            "operator": Provide(operator),
            "manager": Provide(manager),
        },
        middleware=[Idempotency(database, clock, presented_in=key_rules.presented_in, authenticate=ring.authenticate)],
        request_max_body_size=web.BODY_BYTES_MAX,
    )
    return Litestar(
        [router],
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[web.StrictBodies(), web.AmountSchema()],
        logging_config=None,
        openapi_config=None,
    )
