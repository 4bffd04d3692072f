"""Never over a limit, never refused falsely, never lost: any history leaves the books that a model of them foretells.

TOLLGATE_TEST_SEED repeats the long run of another day.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from random import SystemRandom
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.books.machine import Books
from tests.books.world import World

from tollgate.infra import identity

STEPS_LONG = 10_000
EXAMPLES_LONG = 35
"""Of a hundred steps at most: long ones end sooner. As often as it takes."""


@pytest.fixture
def world(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    opened = World(database_url)
    monkeypatch.setattr(identity, "_entropy", opened.id_bytes)
    yield opened
    opened.close()


def a_run(examples: int, steps: int, *, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def run(machine: Callable[[], Books], how: settings) -> None:
    run_state_machine_as_test(machine, settings=how)  # type: ignore[arg-type]  # it says that a function will do


def test_the_ids_of_an_example_come_in_the_same_order_whenever_it_is_repeated(world: World) -> None:
    minted: list[list[UUID]] = []
    for _ in range(2):
        world.begin()
        minted.append([identity.new_id(world.clock.now()) for _ in range(50)])
    places = [[sorted(example).index(each) for each in example] for example in minted]
    assert places[0] == places[1]
    assert max(minted[0]) < min(minted[1])


@pytest.mark.timeout(600)  # to tell the least history that goes wrong
def test_any_history_leaves_the_books_that_the_model_foretells(world: World) -> None:
    run(lambda: Books(world), a_run(12, 50, derandomize=True))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_steps_leave_the_books_that_the_model_foretells(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("TOLLGATE_TEST_SEED") or SystemRandom().randrange(1 << 32))
    with capsys.disabled():
        print(f"\nTOLLGATE_TEST_SEED={seed}")  # noqa: T201 - for replay
    began = time.monotonic()
    for turn in itertools.count():
        if world.steps >= STEPS_LONG:
            break

        def machine() -> Books:
            return Books(world)

        hypothesis.seed(seed + turn)(machine)
        run(machine, a_run(EXAMPLES_LONG, 100, derandomize=False))
    with capsys.disabled():
        print(f"{world.steps} steps in {time.monotonic() - began:.0f} s; {dict(world.outcomes)}")  # noqa: T201 - as above
