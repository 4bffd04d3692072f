"""How endpoints have been doing, as anyone may ask: fresh within a second, true to the calls, cheap to ask for."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.builders import seeded
from tests.metering.scene import Caller
from tests.plans import plan_of, statements_of
from tests.reports.scene import MODEL, Scene, Used
from tests.statistics.calls import FAILED, a_call, some_call

from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind
from tollgate.metering import store as metering
from tollgate.metering.model import CallStatus, Settlement
from tollgate.statistics import tasks
from tollgate.statistics.sketch import RELATIVE_ERROR

NOTHING = dict.fromkeys(("min", "max", "avg", "p50", "p90", "p99"))


async def a_caller(scene: Scene) -> Caller:
    return Caller(scene.organization.id, None, (await scene.a_key()).id)


async def settle(scene: Scene, *settlements: Settlement) -> None:
    await metering.settle(scene.pool, settlements, now=scene.clock.now())


async def stats(scene: Scene, provider: str = "openai", **parameters: Any) -> Any:
    answer = await scene.client.get(f"/models/{MODEL}/endpoints", params=parameters)
    assert answer.status_code == 200, answer.text
    return next(each["stats"] for each in answer.json()["data"] if each["provider"] == provider)


async def test_an_endpoint_without_calls_has_no_figures(scene: Scene) -> None:
    told = await stats(scene)

    assert (told["latency_ms"], told["throughput"], told["window"]) == (NOTHING, NOTHING, "1h")
    assert (told["uptime"]["last_hour"], told["uptime"]["last_day"]) == (None, None)
    assert len(told["uptime"]["hourly"]) == 24
    assert told["uptime"]["hourly"][-1] == {"start": "2026-11-22T12:00:00Z", "uptime": None, "ok": 0, "failed": 0}
    assert told["uptime"]["hourly"][0]["start"] == "2026-11-21T13:00:00Z"


async def test_figures_are_of_the_window_asked_for(scene: Scene) -> None:
    caller, now, endpoint = await a_caller(scene), scene.clock.now(), scene.endpoint_id
    await settle(
        scene,
        a_call(caller, now, endpoint, streamed=True, first_token_ms=200),
        a_call(caller, now, endpoint, streamed=True, first_token_ms=401, generation_ms=1000),
        a_call(caller, now - timedelta(hours=2), endpoint, streamed=True, first_token_ms=50, generation_ms=100),
        a_call(caller, now - timedelta(hours=2), endpoint, ended=FAILED, status=CallStatus.FAILED, http_status=500),
    )

    live, long = await stats(scene), await stats(scene, window="long")

    assert (live["window"], long["window"]) == ("1h", "30d")
    assert (live["latency_ms"]["min"], live["latency_ms"]["max"], live["latency_ms"]["avg"]) == (200, 401, 300.5)
    assert (long["latency_ms"]["min"], long["latency_ms"]["max"], long["latency_ms"]["avg"]) == (50, 401, 217)
    assert long["latency_ms"]["p50"] == pytest.approx(200, rel=RELATIVE_ERROR)
    assert (live["throughput"]["min"], live["throughput"]["max"], live["throughput"]["avg"]) == (50, 100, 75)
    assert long["throughput"]["max"] == 1000
    assert live["uptime"] == long["uptime"] == await uptime(scene)
    assert (live["uptime"]["last_hour"], live["uptime"]["last_day"]) == (1, 0.75)
    hours = {hour["start"]: (hour["ok"], hour["failed"], hour["uptime"]) for hour in live["uptime"]["hourly"]}
    assert (hours["2026-11-22T10:00:00Z"], hours["2026-11-22T12:00:00Z"]) == ((1, 1, 0.5), (2, 0, 1))
    assert (await stats(scene, "azure"))["uptime"]["last_day"] is None


async def uptime(scene: Scene) -> Any:
    return (await stats(scene, window="live"))["uptime"]


@pytest.mark.parametrize("parameters", [{"window": "1h"}, {"window": ""}, {"window": "long", "until": "now"}])
async def test_other_windows_are_refused(scene: Scene, parameters: dict[str, str]) -> None:
    answer = await scene.client.get(f"/models/{MODEL}/endpoints", params=parameters)

    assert answer.status_code == 400
    assert answer.json()["error"]["metadata"]["field"] == next(reversed(parameters))


async def test_figures_are_a_second_old_at_most_and_folding_changes_none(scene: Scene) -> None:
    caller, seen = await a_caller(scene), []
    for _ in range(2):
        await settle(scene, a_call(caller, scene.clock.now(), scene.endpoint_id, streamed=True))
        scene.clock.at += timedelta(seconds=1)
        seen.append(await stats(scene))
        await tasks.fold(scene.database, scene.clock)
        scene.clock.at += timedelta(seconds=1)
        assert await stats(scene) == seen[-1]

    assert [told["uptime"]["hourly"][-1]["ok"] for told in seen] == [1, 2]


async def test_asking_often_reads_them_once(scene: Scene) -> None:
    await settle(scene, a_call(await a_caller(scene), scene.clock.now(), scene.endpoint_id))
    await tasks.fold(scene.database, scene.clock)

    with statements_of("endpoint_buckets") as sent, statements_of("endpoint_samples") as samples:
        for path in (f"/models/{MODEL}/endpoints", "/models", f"/models/{MODEL}", "/models/sandbox/echo/endpoints"):
            for _ in range(3):
                assert (await scene.client.get(path)).status_code == 200

    assert (len(sent), len(samples)) == (3, 1), "one for each window, and one for the hours of the day"
    for statement in sent:
        assert "endpoint_buckets_pkey" in await plan_of(scene.pool, statement)


async def test_activity_is_the_tokens_of_the_recorded_calls(scene: Scene) -> None:
    """Calls of every ending: whatever its endpoint is blamed for, what a provider read and wrote is in it."""
    chance, caller, now = seeded(3), await a_caller(scene), scene.clock.now()
    endpoint = EndpointId(uuid4())
    for _ in range(60):
        await settle(scene, some_call(chance, caller, now - chance.random() * timedelta(days=20), [endpoint]))
    cached = {Kind.PROMPT: 3, Kind.INPUT_CACHE_READ: 5, Kind.COMPLETION: 7, Kind.INTERNAL_REASONING: 11}
    await scene.record([Used(at=now, key=await scene.a_key(), counts=cached)])

    days = (await scene.client.get(f"/models/{MODEL}/activity")).json()["data"]

    read: dict[str, int] = defaultdict(int)
    written: dict[str, int] = defaultdict(int)
    for row in await scene.pool.fetch("SELECT accepted_at, quantities FROM calls WHERE provider IS NOT NULL"):
        day = datetime.astimezone(row["accepted_at"], UTC).date().isoformat()
        for kind, count in json.loads(row["quantities"]).items():
            read[day] += count if kind in PROMPT_KINDS else 0
            written[day] += count if kind in COMPLETION_KINDS else 0
    assert len(days) == 30
    for day in days:
        assert (day["prompt_tokens"], day["completion_tokens"]) == (read[day["date"]], written[day["date"]])
        assert day["tokens"] == read[day["date"]] + written[day["date"]]
    assert sum(day["tokens"] for day in days) > 0
