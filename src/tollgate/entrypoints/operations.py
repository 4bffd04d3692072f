"""Operations: what load balancers and Prometheus ask, outside the interface and without a key."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import prometheus_client
from litestar import MediaType, Response, get

from tollgate.infra import telemetry
from tollgate.infra.database import DATABASE_AWAY
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock
from tollgate.kit.errors import Unavailable
from tollgate.metering import status
from tollgate.metering.status import OnDisk

_READY_SECONDS_MAX = 2
_RETRY_SECONDS = 1


@get("/health/live", include_in_schema=False, media_type=MediaType.TEXT)
async def live() -> str:
    """The process answers."""
    return "live"


@get("/health/ready", include_in_schema=False, media_type=MediaType.TEXT)
async def ready(ping: Injected[Callable[[], Awaitable[None]]]) -> str:
    """The process can take calls: it answers, and so does the database on the connections that calls use."""
    try:
        async with asyncio.timeout(_READY_SECONDS_MAX):
            await ping()
    except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
        raise Unavailable("The database does not answer.", metadata={"retry_after_seconds": _RETRY_SECONDS}) from error
    return "ready"


@get("/metrics", include_in_schema=False, media_type=MediaType.TEXT, sync_to_thread=True)
def metrics(
    metrics_dir: Injected[str | None], on_disk: Injected[Callable[[], OnDisk | None]], clock: Injected[Clock]
) -> Response[bytes]:
    """Prometheus metrics: of the group's processes, and what lies on their disk; the database is not asked."""
    found = on_disk()
    readings = [] if found is None else status.readings(found, clock.now())
    return Response(
        telemetry.exposition(metrics_dir, readings), headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST}
    )


HANDLERS = (live, ready, metrics)
