"""One installation for all crashes of a module: what one round breaks, the next one must find in good order."""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import copied
from tests.crashes.callers import Callers
from tests.crashes.plant import Plant, plant
from tests.gateway.installation import PRICES, Customer, provider_of


@pytest.fixture(scope="module")
def seed() -> int:
    """By which everything random here can be had again: TOLLGATE_TEST_SEED, or another one each time."""
    return int(os.environ.get("TOLLGATE_TEST_SEED") or random.SystemRandom().randrange(10**9))


@pytest.fixture(scope="module")
async def running(migrated: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> AsyncIterator[Plant]:
    dice = random.Random(seed)  # noqa: S311 - what it decides is to be had again
    async with plant(copied(migrated, tmp_path_factory.mktemp("plant")), dice) as made:
        yield made


@pytest.fixture(autouse=True)
async def _mended(running: Plant) -> None:
    """A round that failed, or left something stopped, does not take the others with it."""
    await running.mend()


@pytest.fixture(scope="module")
async def callers(running: Plant) -> Callers:
    """Callers of one model with two endpoints, the second of which is only asked when the first refuses."""
    gateway, play = running.installation, running.play
    model = await gateway.model()
    for place in range(2):
        name = provider_of(model, place)
        await gateway.endpoint(model, name, play.endpoint(name, place), prices=PRICES)
    return Callers(running, model)


@pytest.fixture(scope="module")
async def customers(callers: Callers) -> list[Customer]:
    """Those who call all the time."""
    return [await callers.plant.installation.customer(grant="1000") for _ in range(2)]
