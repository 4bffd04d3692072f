"""The report handlers on a real database; whose key is calling, a test says by the key's id."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide
from tests.catalog.app import OPERATOR
from tests.reports.scene import ENVIRONMENT, Scene, a_scene

from tollgate.catalog.service import find_endpoint
from tollgate.entrypoints.errors import EXCEPTION_HANDLERS
from tollgate.infra.database import Database
from tollgate.infra.web import StrictBodies
from tollgate.keys.rules import check_kind
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import KeyId, OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.reports.routes import HANDLERS


@pytest.fixture
async def client(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the report handlers alone; the header `x-test-key` names the calling key."""

    async def caller(request: Request[Any, Any, Any]) -> Principal:
        row = await pool.fetchrow("SELECT * FROM api_keys WHERE id = $1", UUID(request.headers["x-test-key"]))
        assert row is not None
        return Principal(
            kind=KeyKind(row["kind"]),
            key_id=KeyId(row["id"]),
            organization_id=OrganizationId(row["organization_id"]),
            project_id=ProjectId(row["project_id"]),
            models=row["models"],
            expires_at=row["expires_at"],
        )

    async def manager(request: Request[Any, Any, Any]) -> Principal:
        principal = await caller(request)
        check_kind(principal, KeyKind.MANAGEMENT)
        return principal

    injected: dict[str, object] = {
        "database": database,
        "clock": clock,
        "environment": ENVIRONMENT,
        "operator": OPERATOR,
        "endpoints": find_endpoint,
    }
    app = Litestar(
        HANDLERS,
        dependencies={name: _provide(value) for name, value in injected.items()}
        | {"manager": Provide(manager), "caller": Provide(caller)},
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[StrictBodies()],
        logging_config=None,
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # httpx types ASGI more loosely than Litestar
    async with httpx.AsyncClient(transport=transport, base_url="http://tollgate.test") as opened:
        yield opened


def _provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


@pytest.fixture
async def scene(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, client: httpx.AsyncClient
) -> Scene:
    """An organization in UTC, on the seeded catalogue."""
    return await a_scene(database, pool, clock, client)
