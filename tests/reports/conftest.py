"""The report handlers on a real database; whose key is calling, a test says by the key's id."""

from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide
from tests.catalog.app import OPERATOR
from tests.reports.scene import ENVIRONMENT, Scene, a_scene
from tests.wired import always, client_of, given, provided

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
    async with client_of(_app(), {"database": database, "pool": pool, "clock": clock}) as opened:
        yield opened


@cache
def _app() -> Litestar:
    fixed: dict[str, object] = {"environment": ENVIRONMENT, "operator": OPERATOR, "endpoints": find_endpoint}
    return Litestar(
        HANDLERS,
        dependencies={
            "database": provided("database"),
            "clock": provided("clock"),
            "manager": Provide(_manager),
            "caller": Provide(_caller),
            **{name: always(value) for name, value in fixed.items()},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[StrictBodies()],
        logging_config=None,
    )


async def _caller(request: Request[Any, Any, Any]) -> Principal:
    pool = given(request, "pool")
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


async def _manager(request: Request[Any, Any, Any]) -> Principal:
    principal = await _caller(request)
    check_kind(principal, KeyKind.MANAGEMENT)
    return principal


@pytest.fixture
async def scene(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, client: httpx.AsyncClient
) -> Scene:
    """An organization in UTC, on the seeded catalogue."""
    return await a_scene(database, pool, clock, client)
