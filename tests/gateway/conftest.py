"""One gateway process for all the tests here; each brings its own customer, models and provider behaviour."""

from collections.abc import AsyncIterator

import pytest
from tests.conftest import a_copy
from tests.gateway.installation import Installation, installation
from tests.gateway.matrix import GRANT, Matrix
from tests.gateway.sdks import Sdks

_DATABASE = "gateway_tests"
SECRET = "the-secret-of-the-operator"


@pytest.fixture(scope="session")
async def gateway(server_url: str, template: str) -> AsyncIterator[Installation]:
    """The running gateway. Its environment holds one credential, ACME_API_KEY."""
    async with (
        a_copy(server_url, template, f"{_DATABASE}_{template}") as url,
        installation(url, ACME_API_KEY=SECRET) as running,
    ):
        yield running


@pytest.fixture(scope="module")
async def matrix(gateway: Installation) -> AsyncIterator[Matrix]:
    """Every format on either side; in the end the books of a module are right."""
    matrix = Matrix(gateway, await gateway.customer(str(GRANT)))
    yield matrix
    assert await matrix.adds_up()


@pytest.fixture(scope="module")
async def sdks(gateway: Installation) -> AsyncIterator[Sdks]:
    """The real SDKs; in the end nothing is held."""
    customer = await gateway.customer("100")
    yield Sdks(gateway, customer)
    assert not await customer.holds()
    assert await customer.held() == 0
