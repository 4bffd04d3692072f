"""Database: the two ways to PostgreSQL.

The control plane speaks through SQLAlchemy sessions: `read()` gives one that cannot write, `write()` one that commits
when its block ends and rolls back when it raises. The data plane speaks asyncpg through `connect_pool`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NewType, TypeAlias

import asyncpg
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from tollgate.kit.errors import Unavailable

ReadSession = NewType("ReadSession", AsyncSession)
"""A session in a read-only transaction: PostgreSQL refuses its writes."""
WriteSession = NewType("WriteSession", ReadSession)
"""A session that may write as well; its transaction is committed at the edge."""

DATABASE_AWAY = (
    OSError,  # no socket, no such host, no answer in time
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that ended under a question, at an unlucky moment
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    exc.InterfaceError,
    exc.OperationalError,
    exc.TimeoutError,
)
"""What a database raises that cannot be reached right now, whichever of the two drivers found out."""

PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""One of the data plane's pool, as long as somebody has it."""

READ_SECONDS_MAX = 30
"""No question of the control plane takes seconds. One that does would keep a connection from all others, and old rows
from being cleared away."""

_VIEW = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Database:
    """The control plane's door to PostgreSQL. Its blocks raise DATABASE_AWAY when that is so."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """One consistent, read-only view of the database.

        Raises:
            Unavailable: a statement took longer than READ_SECONDS_MAX.
        """
        async with (
            _as_the_driver_says(),
            AsyncSession(self._engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            await session.connection(execution_options=_VIEW)
            await session.execute(text(f"SET LOCAL statement_timeout = '{READ_SECONDS_MAX}s'"))
            yield ReadSession(session)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with (
            _as_the_driver_says(),
            AsyncSession(self._engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield WriteSession(ReadSession(session))

    async def close(self) -> None:
        """Give every connection back to the server."""
        await self._engine.dispose()


def connect(database_url: str, *, connections_max: int = 8) -> Database:
    """The control plane's database at a `postgresql://` URL. Connections are made when first needed."""
    url = "postgresql+asyncpg://" + database_url.split("://", 1)[1]
    return Database(
        create_async_engine(url, pool_size=connections_max, max_overflow=0, pool_pre_ping=True, hide_parameters=True)
    )


async def connect_pool(database_url: str, *, connections_max: int) -> "asyncpg.Pool[asyncpg.Record]":
    """The data plane's pool of asyncpg connections."""
    return await asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=connections_max,
        loop=asyncio.get_running_loop(),
        command_timeout=60,
        reset=_leave_as_it_is,
    )


async def _leave_as_it_is(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Whoever has had a connection left nothing in its session, so to reset it would be a round trip for nothing.

    Transactions that are open are ended before this is asked.
    """


@asynccontextmanager
async def _as_the_driver_says() -> AsyncIterator[None]:
    """SQLAlchemy has one plain DBAPIError for nearly all that asyncpg tells apart: say again what matters."""
    try:
        yield
    except exc.DBAPIError as error:
        cause = None if error.orig is None else error.orig.__cause__
        if isinstance(cause, asyncpg.QueryCanceledError):
            raise Unavailable(
                f"This took the database longer than {READ_SECONDS_MAX} s. Ask for less, such as a shorter window."
            ) from error
        if isinstance(cause, DATABASE_AWAY):
            raise cause from error
        raise
