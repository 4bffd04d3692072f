"""What a gateway of a test's own knows besides its calls."""

from collections.abc import Mapping
from types import MappingProxyType

import asyncpg

from tollgate.gateway.outlook import Outlook
from tollgate.gateway.sessions import Sessions
from tollgate.gateway.snapshot import Shelf
from tollgate.health.service import Health
from tollgate.kit.clock import Clock
from tollgate.kit.ids import EndpointId


async def reached(_endpoint_id: EndpointId) -> bool:
    """Every endpoint can be."""
    return True


def an_outlook(
    shelf: Shelf,
    pool: "asyncpg.Pool[asyncpg.Record]",
    clock: Clock,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Outlook:
    """An outlook that shares nothing with other processes."""
    return Outlook(shelf, Health(pool, clock, reach=reached), Sessions(pool, clock), environment)
