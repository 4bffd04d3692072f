"""What settling leaves of each attempt: how it counts, which samples it yields, once, and in the right five minutes."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.conftest import NOON
from tests.metering.scene import Pool, Scene
from tests.statistics.calls import CANCELLED, FAILED, a_call, after_others

from tollgate.infra.identity import new_id
from tollgate.kit.ids import AttemptId, EndpointId
from tollgate.metering.model import CallStatus, Settlement

OK, BAD, NEITHER = (1, 0), (0, 1), (0, 0)


def an_endpoint() -> EndpointId:
    return EndpointId(uuid4())


async def left(pool: Pool, endpoint: EndpointId) -> list[tuple[Any, ...]]:
    """The samples of the endpoint that wait: since when, ok, failed, latencies and throughputs."""
    rows = await pool.fetch(
        "SELECT starts_at, ok, failed, latencies_ms, throughputs FROM endpoint_samples WHERE endpoint_id = $1", endpoint
    )
    return [tuple(row) for row in rows]


async def left_of(scene: Scene, **said: Any) -> tuple[Any, ...]:
    """What one call leaves: ok, failed, latencies and throughputs."""
    endpoint = an_endpoint()
    await scene.settle(a_call(await scene.a_caller(credit="1"), NOON, endpoint, **said))
    rows = await left(scene.pool, endpoint)
    return rows[0][1:] if rows else (0, 0, [], [])


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({}, OK),
        ({"status": CallStatus.CANCELLED}, OK),
        ({"status": CallStatus.RECOVERED, "estimated": True}, OK),
        ({"status": CallStatus.UNPRICED}, OK),
        ({"status": CallStatus.INSURED}, BAD),
        ({"status": CallStatus.FAILED, "error": "provider_error"}, BAD),
        ({"status": CallStatus.FAILED, "error": "provider_timeout"}, BAD),
        ({"ended": CANCELLED, "status": CallStatus.CANCELLED}, NEITHER),
        ({"ended": CANCELLED, "status": CallStatus.RECOVERED}, NEITHER),
        ({"ended": FAILED, "http_status": 500, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": 503, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": None, "error": "provider_unavailable"}, BAD),
        ({"ended": FAILED, "http_status": None, "error": "provider_timeout"}, BAD),
        ({"ended": FAILED, "http_status": 200, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": 401, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": 403, "error": "provider_error"}, NEITHER),
        ({"ended": FAILED, "http_status": 404, "error": "provider_error"}, NEITHER),
        ({"ended": FAILED, "http_status": 408, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": 409, "error": "provider_error"}, BAD),
        ({"ended": FAILED, "http_status": None, "error": None}, BAD),
        ({"ended": FAILED, "http_status": 400, "error": "invalid_request"}, NEITHER),
        ({"ended": FAILED, "http_status": 413, "error": "invalid_request"}, NEITHER),
        ({"ended": FAILED, "http_status": 422, "error": "invalid_request"}, NEITHER),
        ({"ended": FAILED, "http_status": None, "error": "invalid_request"}, NEITHER),
        ({"ended": FAILED, "http_status": 429, "error": "rate_limit"}, NEITHER),
    ],
)
async def test_an_attempt_counts_by_whose_fault_it_was(
    shared_scene: Scene, said: dict[str, Any], counts: tuple[int, int]
) -> None:
    assert (await left_of(shared_scene, **said))[:2] == counts


@pytest.mark.parametrize(
    ("said", "latencies", "throughputs"),
    [
        ({"streamed": True, "first_token_ms": 250}, [250], [50_000]),
        ({"streamed": True, "first_token_ms": 0, "generation_ms": 1}, [0], [100_000_000]),
        ({"streamed": False}, [], [50_000]),
        ({"streamed": True, "estimated": True}, [120], []),
        ({"streamed": True, "status": CallStatus.CANCELLED}, [120], []),
        ({"streamed": True, "status": CallStatus.FAILED, "error": "provider_error"}, [120], []),
        ({"streamed": True, "ended": FAILED}, [], []),
        ({"completion": 0}, [], []),
        ({"generation_ms": 0}, [], []),
        ({"generation_ms": None}, [], []),
        ({"completion": 1, "generation_ms": 3}, [], [333_333]),
        ({"completion": 2, "generation_ms": 3}, [], [666_667]),
        ({"completion": 1, "generation_ms": 80_000}, [], [13]),
        ({"quantities": '{"completion": 5, "internal_reasoning": 10, "output_audio": 2}'}, [], [8_500]),
        ({"quantities": '{"completion": 99999999999999999999}', "generation_ms": 1}, [], [10**15]),
    ],
)
async def test_samples_are_of_calls_that_tell_something(
    shared_scene: Scene, said: dict[str, Any], latencies: list[int], throughputs: list[int]
) -> None:
    assert (await left_of(shared_scene, **said))[2:] == (latencies, throughputs)


async def test_attempts_before_a_fallback_count_for_their_own_endpoint(shared_scene: Scene) -> None:
    dead, limited, alive = (an_endpoint() for _ in range(3))
    call = a_call(await shared_scene.a_caller(credit="1"), NOON, alive, streamed=True)

    await shared_scene.settle(after_others(call, (dead, 503, "provider_error"), (limited, 429, "rate_limit")))

    assert await left(shared_scene.pool, dead) == [(NOON, 0, 1, [], [])]
    assert await left(shared_scene.pool, limited) == []
    assert await left(shared_scene.pool, alive) == [(NOON, 1, 0, [120], [50_000])]


async def test_a_settlement_that_is_sent_again_leaves_nothing_more(shared_scene: Scene) -> None:
    caller, endpoint = await shared_scene.a_caller(credit="1"), an_endpoint()
    calls = [a_call(caller, NOON, endpoint) for _ in range(3)]

    await shared_scene.settle(*calls[:2])
    await shared_scene.settle(*calls, calls[0])
    await shared_scene.settle(*calls)

    rows = await left(shared_scene.pool, endpoint)
    assert [row[1] for row in rows] == [2, 1]


async def test_processes_that_send_the_same_at_once_leave_it_once(shared_scene: Scene) -> None:
    caller, endpoint = await shared_scene.a_caller(credit="1"), an_endpoint()
    calls = [a_call(caller, NOON, endpoint) for _ in range(20)]

    await asyncio.gather(*(shared_scene.settle(*calls) for _ in range(4)))

    assert sum(row[1] for row in await left(shared_scene.pool, endpoint)) == 20


async def test_a_batch_leaves_one_row_for_each_endpoint_and_five_minutes(shared_scene: Scene) -> None:
    caller, endpoint = await shared_scene.a_caller(credit="1"), an_endpoint()
    begun = [NOON, NOON + timedelta(minutes=5) - timedelta(milliseconds=1), NOON + timedelta(minutes=5)]

    await shared_scene.settle(*(_begun_at(at, a_call(caller, NOON, endpoint)) for at in begun))

    rows = sorted(await left(shared_scene.pool, endpoint))
    assert [row[:2] for row in rows] == [(NOON, 2), (NOON + timedelta(minutes=5), 1)]


def _begun_at(at: Any, settlement: Settlement) -> Settlement:
    """The call with its attempt begun then: a call may wait for its hold, and fall back for long."""
    (attempt,) = settlement.attempts
    return settlement._replace(attempts=(attempt._replace(id=AttemptId(new_id(at))),))
