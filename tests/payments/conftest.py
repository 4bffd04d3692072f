"""A Stripe of our own, a new account for each test, and the real library and our door to speak to it with."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import stripe
from tests.conftest import NOON, a_copy
from tests.invoices.builders import AFTER, Books
from tests.payments.builders import Desk
from tests.payments.shop import Shop, leave
from tests.payments.stripe_double import SECRET_KEY, WEBHOOK_SECRET, StripeDouble, a_stripe

from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient


@pytest.fixture(scope="session")
async def served_double() -> AsyncIterator[StripeDouble]:
    """One address for all tests: what speaks to it is shared, for it reads many certificates when it is made."""
    async with a_stripe(NOON) as opened:
        yield opened


@pytest.fixture(scope="session")
async def shared_library(served_double: StripeDouble) -> AsyncIterator[stripe.StripeClient]:
    http = stripe.HTTPXClient(timeout=5)
    yield stripe.StripeClient(
        SECRET_KEY, base_addresses={"api": served_double.url}, http_client=http, max_network_retries=0
    )
    await http.close_async()  # type: ignore[no-untyped-call]  # the library leaves it untyped


@pytest.fixture(scope="session")
async def shared_door(served_double: StripeDouble) -> AsyncIterator[StripeClient]:
    opened = StripeClient(SECRET_KEY, webhook_secrets=(WEBHOOK_SECRET,), base=served_double.url, timeout_seconds=5)
    yield opened
    await opened.close()


@pytest.fixture
def double(served_double: StripeDouble) -> StripeDouble:
    """An account in which nothing is yet, at noon."""
    served_double.begin_anew(NOON)
    return served_double


@pytest.fixture
def library(shared_library: stripe.StripeClient, double: StripeDouble) -> stripe.StripeClient:  # noqa: ARG001 - it speaks to this account
    """Stripe's own library, as it comes."""
    return shared_library


@pytest.fixture
def door(shared_door: StripeClient, double: StripeDouble) -> StripeClient:  # noqa: ARG001 - as above
    """Our door."""
    return shared_door


@pytest.fixture
def desk(database: Database, pool: "asyncpg.Pool[asyncpg.Record]", double: StripeDouble, door: StripeClient) -> Desk:
    """Books to collect for, and a Stripe to do it with."""
    double.world.now = AFTER
    return Desk(Books(database, pool), double, door)


@pytest.fixture(scope="module")
async def shared_database(server_url: str, template: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """One database for the tests of a module: each has an organization of its own."""
    async with a_copy(server_url, template, f"{template}_{request.module.__name__.rpartition('.')[2]}") as url:
        opened = databases.connect(url)
        yield opened
        await opened.close()


@pytest.fixture
async def shop(shared_database: Database, double: StripeDouble, door: StripeClient) -> AsyncIterator[Shop]:
    """An installation that takes payments, at noon."""
    clock = FixedClock(NOON)
    yield Shop(Surroundings(shared_database, door, clock), double, clock)
    await leave(shared_database)


@pytest.fixture(scope="module")
async def shared_books(server_url: str, template: str, request: pytest.FixtureRequest) -> AsyncIterator[Books]:
    """One database to keep the books of a module's tests in: each has an organization of its own."""
    name = f"{template}_{request.module.__name__.rpartition('.')[2]}_books"
    async with a_copy(server_url, template, name) as url:
        opened, pool = databases.connect(url), await databases.connect_pool(url, connections_max=4)
        yield Books(opened, pool)
        await pool.close()
        await opened.close()


@pytest.fixture
def stand(shared_books: Books, double: StripeDouble, door: StripeClient) -> Desk:
    """A desk that shares its database with the module's others: for what looks at one organization alone."""
    double.world.now = AFTER
    return Desk(shared_books, double, door)
