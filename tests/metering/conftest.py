"""A real database to meter in: one for each test, or one that a module's tests share, each with its own callers."""

from collections.abc import AsyncIterator

import pytest
from tests.conftest import a_copy
from tests.metering.scene import Pool, Scene

from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


@pytest.fixture
async def scene(database: Database, pool: Pool, clock: FixedClock) -> Scene:
    return await _scene(database, pool, clock)


@pytest.fixture(scope="module")
async def shared_database(server_url: str, template: str) -> AsyncIterator[tuple[Database, Pool]]:
    async with a_copy(server_url, template, f"{template}_shared") as url:
        opened, pool = databases.connect(url), await databases.connect_pool(url, connections_max=8)
        yield opened, pool
        await pool.close()
        await opened.close()


@pytest.fixture
async def shared_scene(shared_database: tuple[Database, Pool], clock: FixedClock) -> Scene:
    """The scene on a database where others have been before: a test may look only at what is its callers'."""
    database, pool = shared_database
    return await _scene(database, pool, clock)


async def _scene(database: Database, pool: Pool, clock: FixedClock) -> Scene:
    # As if somebody had just looked after the leases: the database was copied from one where nobody has for a while.
    await pool.execute("UPDATE recovery SET swept_at = clock_timestamp()")
    return Scene(database, pool, clock, await pool.fetchval("SELECT revision FROM catalogue_revision"))
