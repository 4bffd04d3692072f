"""A past that was charged at the seed's price, looked at from December."""

import asyncpg
import pytest
from tests.invoices.builders import BORN, Books, at
from tests.pricing.builders import priced_endpoint
from tests.rerating.scene import Past

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.pricing import service as pricing


@pytest.fixture
async def past(database: Database, pool: "asyncpg.Pool[asyncpg.Record]") -> Past:
    endpoint_id = await priced_endpoint(database, BORN)
    async with database.read() as session:
        book = await pricing.load_book(session, now=BORN)
    return Past(Books(database, pool), FixedClock(at(12, 2, 9)), book.versions(endpoint_id)[0])
