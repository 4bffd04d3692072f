"""A past that was charged at the seed's price, looked at from December."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.conftest import a_copy
from tests.invoices.builders import BORN, Books, at
from tests.pricing.builders import priced_endpoint
from tests.rerating.scene import Past

from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.pricing import service as pricing
from tollgate.pricing.model import PriceVersion


@pytest.fixture(scope="session")
async def priced(server_url: str, template: str) -> AsyncIterator[tuple[str, PriceVersion]]:
    """The name of a database with the seed's catalogue, to copy, and its one price of the model that is called."""
    name = f"{template}_priced"
    async with a_copy(server_url, template, name) as url:
        opened = databases.connect(url)
        endpoint_id = await priced_endpoint(opened, BORN)
        async with opened.read() as session:
            book = await pricing.load_book(session, now=BORN)
        await opened.close()
        yield name, book.versions(endpoint_id)[0]


@pytest.fixture
async def database_url(server_url: str, priced: tuple[str, PriceVersion]) -> AsyncIterator[str]:
    """A database of this test alone, with catalogue and prices."""
    async with a_copy(server_url, priced[0], f"{priced[0]}_copy") as url:
        yield url


@pytest.fixture
def past(database: Database, pool: "asyncpg.Pool[asyncpg.Record]", priced: tuple[str, PriceVersion]) -> Past:
    return Past(Books(database, pool), FixedClock(at(12, 2, 9)), priced[1])
