"""The operator's routes of catalogue and prices, wired for a test without keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from litestar.di import Provide

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
    injected: dict[str, Any] = {
        "database": database,
        "clock": clock,
        "operator": OPERATOR,
        "environment": ENVIRONMENT,
        "endpoints": find_endpoint,
        "endpoint": get_endpoint,
        "reach": Reach(resolve, private=False),
    }
    app = Litestar(
        [*catalogue_routes.HANDLERS, *price_routes.HANDLERS],
        dependencies={
            "act": Provide(lambda: Act(clock.now(), OPERATOR.key_id, ADDRESS), sync_to_thread=False),
            **{name: _provide(value) for name, value in injected.items()},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[StrictBodies()],
    )
    # In the test's own event loop, where its database is; Litestar's test client starts another.
    transport = ASGITransport(app)  # type: ignore[arg-type]  # httpx types ASGI more loosely than Litestar
    async with AsyncClient(transport=transport, base_url="http://tollgate") as client:
        yield client


def _provide(value: object) -> Provide:
    def given() -> Any:
        return value

    return Provide(given, sync_to_thread=False)
