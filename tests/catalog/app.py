"""The operator's routes of catalogue and prices, wired for a test without keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from uuid import UUID

from httpx import AsyncClient
from litestar import Litestar, Request
from litestar.di import Provide
from tests.wired import always, client_of, given, provided

from tollgate.catalog import routes as catalogue_routes
from tollgate.catalog.service import find_endpoint, get_endpoint
from tollgate.entrypoints.errors import EXCEPTION_HANDLERS
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.infra.names import Reach
from tollgate.infra.web import StrictBodies
from tollgate.kit.clock import Clock
from tollgate.kit.ids import PLATFORM, KeyId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.pricing import routes as price_routes

OPERATOR = Principal(KeyKind.OPERATOR, KeyId(UUID(int=5)), PLATFORM, None, None, None)
ADDRESS = "192.0.2.7"
"""Where the operator is."""
ENVIRONMENT = {"GROQ_API_KEY": "gsk"}


NAMES = {"api.groq.com": ("104.18.2.3", "2606:4700::6812:203")}
"""Where names lead to, where they lead anywhere."""


async def resolve(name: str) -> tuple[str, ...]:
    return NAMES.get(name, ())


@asynccontextmanager
async def operator_client(database: Database, clock: Clock) -> AsyncIterator[AsyncClient]:
    """A client that is taken for an operator."""
    async with client_of(_app(), {"database": database, "clock": clock}) as client:
        yield client


@cache
def _app() -> Litestar:
    fixed: dict[str, object] = {
        "operator": OPERATOR,
        "environment": ENVIRONMENT,
        "endpoints": find_endpoint,
        "endpoint": get_endpoint,
        "reach": Reach(resolve, private=False),
    }
    return Litestar(
        [*catalogue_routes.HANDLERS, *price_routes.HANDLERS],
        dependencies={
            "act": Provide(_act, sync_to_thread=False),
            "database": provided("database"),
            "clock": provided("clock"),
            **{name: always(value) for name, value in fixed.items()},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[StrictBodies()],
    )


def _act(request: Request[Any, Any, Any]) -> Act:
    return Act(given(request, "clock").now(), OPERATOR.key_id, ADDRESS)
