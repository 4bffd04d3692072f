"""One database for the tests of a module, and a worker that sends from it to a server of this machine."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from tests.conftest import a_copy
from tests.webhooks.post_office import PostOffice
from tests.webhooks.receiver import Receiver, receiver

from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock, SystemClock


@pytest.fixture(scope="module")
async def opened(server_url: str, template: str) -> AsyncIterator[tuple[Database, "asyncpg.Pool[asyncpg.Record]"]]:
    async with a_copy(server_url, template, f"{template}_hooks") as url:
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=4)
        yield database, pool
        await pool.close()
        await database.close()


@pytest.fixture
async def office(opened: tuple[Database, "asyncpg.Pool[asyncpg.Record]"]) -> PostOffice:
    """A quarter of an hour after now: deliveries are due by the database's own clock."""
    # What others left is not this test's to send.
    await opened[1].execute("UPDATE webhook_deliveries SET state = 'dropped', next_at = NULL WHERE state = 'pending'")
    return PostOffice(*opened, FixedClock(SystemClock().now() + timedelta(minutes=15)))


@pytest.fixture
async def server() -> AsyncIterator[Receiver]:
    async with receiver() as served:
        yield served
