"""What an operator sees: calls in flight, orphans, what waits on the disk and what has no price, and then no more."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from tests.control_plane import ControlPlane, running
from tests.metering.scene import Caller, Pool, Scene, costing, free
from tests.safes import a_safe, keep

from tollgate.entrypoints import http
from tollgate.infra import estate
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.infra.settings import Settings
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import PLATFORM, CallId
from tollgate.kit.principal import KeyKind
from tollgate.metering import recovery, safekeeping, status
from tollgate.metering.model import CallStatus, Settlement


@pytest.fixture
async def plane(
    database: Database, pool: Pool, clock: FixedClock, database_url: str, tmp_path: Path
) -> AsyncIterator[ControlPlane]:
    """A process whose data directory a test may look into, and put a sibling beside it."""
    async with database.write() as session:
        minted = await keys.create(session, order=NewKey(PLATFORM, KeyKind.OPERATOR, "a"), now=clock.now())
    app: Any = http.build(Settings(database_url, data_dir=tmp_path), environment={}, clock=clock)
    transport = httpx.ASGITransport(app)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://tollgate.test") as client:
        yield ControlPlane(app, client, database, pool, clock, minted.text)


async def told(plane: ControlPlane) -> Any:
    answer = await plane.call("GET", "/admin/status")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def measured(client: httpx.AsyncClient) -> dict[str, float]:
    """The metrics that have no labels."""
    text = (await client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(tollgate_\w+) (\S+)$", text, re.MULTILINE)}


def an_ended_call(scene: Scene, caller: Caller) -> Settlement:
    return costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1")


async def test_an_installation_at_rest_has_nothing_to_tell(plane: ControlPlane) -> None:
    seen = await told(plane)

    assert seen["ledger"]["reachable"] is True
    assert seen["ledger"]["swept_at"] is not None
    assert seen["in_flight"] == {"holds": 0, "held": {}, "oldest_at": None}
    assert (seen["orphans"], seen["unpriced"]) == (0, {"calls": 0, "oldest_at": None})
    assert seen["statistics"] == {"waiting": 0, "oldest_at": None}
    assert {**seen["spool"], "host": ""} == {
        "host": "", "waiting": 0, "oldest_at": None, "refused": 0, "unreadable": 0, "processes": 1, "left_behind": 0,
    }  # fmt: skip
    assert (seen["outbox_age_seconds"], seen["providers"]) == (0, [])


async def test_only_operators_see_it(plane: ControlPlane) -> None:
    assert (await plane.call("GET", "/admin/status", key=await plane.a_manager())).status_code == 403


async def test_a_settlement_on_the_disk_is_seen_until_somebody_has_recorded_it(
    plane: ControlPlane, scene: Scene, tmp_path: Path
) -> None:
    folder = await recovery.folder_of(plane.pool, tmp_path)
    caller, sibling = await scene.a_caller(), a_safe(folder)
    ended = an_ended_call(scene, caller)
    await keep(sibling, ended, at=scene.clock.at)
    await sibling.put_aside({an_ended_call(scene, caller).call.call_id: b"{}"}, "DataError 22003", scene.clock.at)
    plane.clock.at = plane.clock.at.replace(hour=13)

    spool, metrics = (await told(plane))["spool"], await measured(plane.client)

    assert {name: spool[name] for name in ("waiting", "oldest_at", "refused", "processes", "left_behind")} == {
        "waiting": 1, "oldest_at": "2026-11-22T12:00:00Z", "refused": 1, "processes": 2, "left_behind": 0,
    }  # fmt: skip
    assert (metrics["tollgate_spool_waiting"], metrics["tollgate_spool_refused"]) == (1, 1)
    assert (metrics["tollgate_spool_oldest_seconds"], metrics["tollgate_processes"]) == (3600, 2)

    await sibling.close()
    async with asyncio.timeout(20):
        while (seen := (await told(plane))["spool"])["waiting"] or seen["left_behind"]:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.1)
    assert (seen["processes"], seen["refused"], seen["oldest_at"]) == (1, 1, None)
    metrics = await measured(plane.client)
    assert (metrics["tollgate_spool_waiting"], metrics["tollgate_spool_oldest_seconds"]) == (0, 0)
    assert (await scene.counter(caller))["total_used"] == 1


async def test_a_ledger_that_stops_answering_hides_nothing_that_is_on_the_disk(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_LEDGER_SECONDS_MAX", 0.2)
    async with plane.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE holds IN ACCESS EXCLUSIVE MODE")
        seen = await told(plane)

    assert seen["ledger"] == {"reachable": False, "swept_at": None}
    assert (seen["in_flight"], seen["orphans"], seen["unpriced"], seen["outbox_age_seconds"]) == (None,) * 4
    assert seen["spool"]["processes"] == 1
    assert (await told(plane))["ledger"]["reachable"] is True


async def test_without_a_database_there_are_no_operators_but_the_metrics_tell_of_the_disk(
    database_url: str, scene: Scene, tmp_path: Path
) -> None:
    async with scene.database.write() as session:
        minted = await keys.create(session, order=NewKey(PLATFORM, KeyKind.OPERATOR, "a"), now=scene.clock.at)
    role = f"status_{os.getpid()}"
    await scene.pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data")
    try:
        url = f"postgresql://{role}:secret@{database_url.partition('@')[2]}"
        app: Any = http.build(Settings(url, data_dir=tmp_path), environment={}, clock=scene.clock)
        sibling = a_safe(await recovery.folder_of(scene.pool, tmp_path))
        await keep(sibling, an_ended_call(scene, await scene.a_caller()), at=scene.clock.at)
        transport = httpx.ASGITransport(app)
        async with running(app), httpx.AsyncClient(transport=transport, base_url="http://tollgate.test") as client:
            await scene.pool.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
            await scene.pool.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
            headers = {"Authorization": f"Bearer {minted.text}"}
            answer = await client.get("/api/v1/admin/status", headers=headers)
            metrics = await measured(client)
    finally:
        await scene.pool.execute(f"DROP ROLE {role}")

    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert (metrics["tollgate_spool_waiting"], metrics["tollgate_processes"]) == (1, 2)


async def test_a_file_that_cannot_be_read_is_told_and_hides_no_other(scene: Scene, tmp_path: Path) -> None:
    await keep(a_safe(tmp_path), an_ended_call(scene, await scene.a_caller()), at=scene.clock.at)
    broken = estate.found(tmp_path, uuid4())
    (broken.path / safekeeping.SPOOL_FILE).write_bytes(b"not a database" * 100)

    found = status.on_disk(tmp_path)

    assert (found.waiting, found.unreadable, found.processes) == (1, 1, 2)


class TestInTheLedger:
    async def test_calls_in_flight_are_counted_with_what_they_hold(self, scene: Scene) -> None:
        at = scene.clock.at
        callers = [await scene.a_caller(credit="10"), await scene.a_caller(credit="10")]
        await scene.hold(callers[0], "0.25")
        scene.clock.at = at.replace(hour=13)
        for caller in callers:
            await scene.hold(caller, "1.5")

        seen = await status.in_ledger(scene.database)

        assert seen is not None
        assert (seen.holds, {currency: str(held.normalize()) for currency, held in seen.held.items()}) == (
            3,
            {"USD": "3.25"},
        )
        assert (seen.oldest_at, seen.orphans) == (at, 0)

    async def test_orphans_are_those_whose_lease_is_over(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        kept, lost = await scene.hold(caller), await scene.hold(caller)
        await scene.pool.execute("UPDATE holds SET lease_until = now() WHERE call_id = $1", lost.call_id)

        seen = await status.in_ledger(scene.database)

        assert seen is not None
        assert kept.call_id != lost.call_id
        assert (seen.holds, seen.orphans) == (2, 1)

    async def test_calls_without_a_price_are_found_by_their_index(self, scene: Scene) -> None:
        caller, at = await scene.a_caller(), scene.clock.at
        for ended in (CallStatus.UNPRICED, CallStatus.UNPRICED, CallStatus.SETTLED):
            await scene.settle(free(an_ended_call(scene, caller), ended))
            scene.clock.at = at.replace(hour=14)

        seen = await status.in_ledger(scene.database)

        assert seen is not None
        assert (seen.unpriced, seen.unpriced_oldest_at) == (2, at)
        plan = await _plan(scene.pool, str(status._UNPRICED))
        assert "accepted_at_idx" in plan
        assert "Seq Scan" not in plan


async def _plan(pool: Pool, statement: str) -> str:
    """How the database finds the answer, where it is not free to read small tables whole."""
    connection: asyncpg.Connection[asyncpg.Record]
    async with pool.acquire() as connection, connection.transaction():  # type: ignore[assignment]  # a proxy of one
        await connection.execute("ANALYZE calls")  # the database may have been used before
        await connection.execute("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
