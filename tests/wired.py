"""Handlers wired into an application once for all tests: what they are given comes with each request."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from httpx import ASGITransport, AsyncClient
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide

_GIVEN = "tollgate-given"


def given(request: Request[Any, Any, Any], name: str) -> Any:
    """What the client's test gave under this name."""
    scope: Any = request.scope
    return scope[_GIVEN][name]


def provided(name: str) -> Provide:
    """The dependency that is what the client's test gave under this name."""

    def provide(request: Request[Any, Any, Any]) -> Any:
        return given(request, name)

    return Provide(provide, sync_to_thread=False)


def always(value: object) -> Provide:
    """The dependency that is this, whoever asks."""

    def provide() -> Any:
        return value

    return Provide(provide, sync_to_thread=False)


@asynccontextmanager
async def client_of(app: Litestar, values: Mapping[str, object]) -> AsyncIterator[AsyncClient]:
    """A client whose requests are served with these values, in the test's own event loop, where its database is.

    What the application keeps from one request to the next begins anew: one such client at a time.
    """
    app.state = State()

    async def served(scope: Any, receive: Any, send: Any) -> None:
        within: Any = {**scope, _GIVEN: values}
        await app(within, receive, send)

    async with AsyncClient(transport=ASGITransport(served), base_url="http://tollgate.test") as client:
        yield client
