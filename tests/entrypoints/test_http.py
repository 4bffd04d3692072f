"""The application as it is served: what holds for every route, and what operators watch it by."""

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from tests.control_plane import ControlPlane, control_plane, running

from tollgate.entrypoints import http, operations
from tollgate.infra import settings, telemetry
from tollgate.infra.database import Database
from tollgate.infra.settings import METRICS_DIR_VARIABLE, Settings
from tollgate.kit.clock import FixedClock, SystemClock


@pytest.fixture
async def plane(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> AsyncIterator[ControlPlane]:
    async with control_plane(database, pool, clock, database_url=database_url) as opened:
        yield opened


def _routes(plane: ControlPlane, organization: str) -> list[tuple[str, str]]:
    """Every method and path of the control plane, the places in the path filled in."""
    found: list[tuple[str, str]] = []
    for route in plane.app.routes:
        if isinstance(route, HTTPRoute) and route.path.startswith("/api/v1/"):
            path = re.sub(r"{\w+}", "1", route.path_format.replace("{organization_id}", organization))
            found += [(method, path.removeprefix("/api/v1")) for method in route.methods - {"OPTIONS", "HEAD"}]
    return found


def _client(app: Litestar) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # httpx types ASGI more loosely than Litestar
    return httpx.AsyncClient(transport=transport, base_url="http://tollgate.test")


class TestEveryRoute:
    async def test_refuses_query_parameters_it_does_not_know(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        manager = await plane.a_key(organization)
        routes = _routes(plane, organization)

        for method, path in routes:
            key = plane.operator_key if path.startswith("/admin/") else manager
            answer = await plane.call(method, path, key=key, params={"surprise": "1"})

            assert answer.status_code == 400, (method, path, answer.text)
            assert answer.json()["error"]["metadata"] == {"field": "surprise"}, (method, path)
        assert {("GET", "/key"), ("GET", "/credits"), ("GET", "/models/1/1"), ("POST", "/keys")} <= set(routes)

    async def test_proves_the_key_before_it_says_anything_of_the_query(self, plane: ControlPlane) -> None:
        answer = await plane.client.get("/api/v1/credits?surprise=1")

        assert answer.status_code == 401

    @pytest.mark.parametrize("path", ["/key", "/generation?id=1", "/keys", "/invoices/current"])
    async def test_refuses_a_key_revoked_where_this_process_could_not_hear_of_it(
        self, plane: ControlPlane, path: str
    ) -> None:
        manager = await plane.a_manager()
        await plane.call("GET", path, key=manager)
        await plane.pool.execute("ALTER TABLE api_keys DISABLE TRIGGER USER")
        await plane.pool.execute("UPDATE api_keys SET revoked_at = now()")

        for key in (manager, plane.operator_key):
            assert (await plane.call("GET", path, key=key)).status_code == 401


class TestHealth:
    async def test_is_told_while_every_session_is_taken(self, plane: ControlPlane) -> None:
        wiring = plane.app.state.gateway._admissions._shelf._database
        async with AsyncExitStack() as taken:
            for _ in range(Settings("").control_plane_connections):
                await taken.enter_async_context(wiring.read())

            assert (await plane.client.get("/health/ready")).status_code == 200

    async def test_is_not_told_of_a_database_that_is_away(
        self, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        role = f"unwanted_{os.getpid()}"
        await pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data")
        try:
            url = f"postgresql://{role}:secret@{database_url.partition('@')[2]}"
            app = http.build(Settings(url), environment={}, clock=SystemClock())
            async with running(app), _client(app) as client:
                assert (await client.get("/health/ready")).text == "ready"
                await pool.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
                await pool.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
                answers = [await client.get(path) for path in ("/health/ready", "/api/v1/providers", "/health/live")]
        finally:
            await pool.execute(f"DROP ROLE {role}")

        assert [answer.status_code for answer in answers] == [503, 503, 200]
        assert answers[0].json()["error"]["message"] == "The database does not answer."
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers[:2])

    async def test_is_not_told_of_a_database_that_keeps_silent(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(operations, "_READY_SECONDS_MAX", 0.01)
        monkeypatch.setattr(asyncpg.Pool, "fetchval", lambda *_: asyncio.Event().wait())

        assert (await plane.client.get("/health/ready")).status_code == 503


def test_building_it_leaves_alone_what_the_process_logs() -> None:
    before = (logging.getLogger().level, list(logging.getLogger().handlers))

    http.build(Settings("postgresql://x@/y"), environment={}, clock=SystemClock())

    assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before


def test_its_connections_are_those_of_the_setting() -> None:
    for total in (6, 7, 14):
        configured = settings.read({"TOLLGATE_DATABASE_URL": "x", "TOLLGATE_DATABASE_POOL_MAX": str(total)})

        shares = (configured.control_plane_connections, configured.data_plane_connections)
        assert min(shares) >= 2
        assert sum(shares) + 2 == total


async def test_metrics_are_those_of_every_process_that_counts_in_the_directory(tmp_path: Path) -> None:
    counting = "from tollgate.infra import telemetry; telemetry.EXPIRED_HOLDS.inc(3); telemetry.CALLS.labels('x').inc()"
    environment = {**os.environ, METRICS_DIR_VARIABLE: str(tmp_path)}
    for _ in range(2):
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", counting], env=environment, check=True)

    app = http.build(Settings("postgresql://x@/y"), environment=environment, clock=SystemClock())
    async with _client(app) as client:
        told = (await client.get("/metrics")).text

    assert "tollgate_expired_holds_total 6.0" in told
    assert 'tollgate_calls_total{status="x"} 2.0' in told


_IN_FLIGHT = """
import sys
from tollgate.infra import telemetry
telemetry.IN_FLIGHT.set(int(sys.argv[1]))
telemetry.EXPIRED_HOLDS.inc()
print("set", flush=True)
sys.stdin.read()
"""


def test_gauges_are_those_of_the_processes_that_live_and_counts_those_of_all(tmp_path: Path) -> None:
    def told() -> list[str]:
        text = telemetry.exposition(str(tmp_path), []).decode()
        return re.findall(r"^tollgate_(calls_in_flight \S+|expired_holds_total \S+)$", text, re.MULTILINE)

    environment = {**os.environ, METRICS_DIR_VARIABLE: str(tmp_path)}
    with ExitStack() as started:
        processes = [
            started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _IN_FLIGHT, number],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for number in ("3", "4")
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"set\n"
        before = told()
        processes[0].kill()
        processes[0].wait()
        after = told()
        processes[1].kill()

    assert sorted(before) == ["calls_in_flight 7.0", "expired_holds_total 2.0"]
    assert sorted(after) == ["calls_in_flight 4.0", "expired_holds_total 2.0"]
