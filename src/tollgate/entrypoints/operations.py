"""Operations: what load balancers and Prometheus ask, outside the interface and without a key."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import prometheus_client
from litestar import MediaType, Response, get
from prometheus_client import multiprocess

from tollgate.infra.database import DATABASE_AWAY
from tollgate.infra.web import Injected
from tollgate.kit.errors import Unavailable

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
def metrics(metrics_dir: Injected[str | None]) -> Response[bytes]:
    """Prometheus metrics: of all processes that count in the directory; without one, of this process."""
    registry = prometheus_client.REGISTRY
    if metrics_dir:
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, metrics_dir)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    return Response(
        prometheus_client.generate_latest(registry), headers={"content-type": prometheus_client.CONTENT_TYPE_LATEST}
    )


HANDLERS = (live, ready, metrics)
