"""A real database to keep books in."""

import asyncpg
import pytest
from tests.invoices.builders import Books

from tollgate.infra.database import Database


@pytest.fixture
def books(database: Database, pool: "asyncpg.Pool[asyncpg.Record]") -> Books:
    return Books(database, pool)
