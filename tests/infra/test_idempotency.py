"""Writes that carry an Idempotency-Key, on a real database: once, whatever is repeated, raced or interrupted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from litestar import get, post
from litestar.exceptions import HTTPException
from tests.control_plane import ControlPlane, control_plane, shared_control_plane

from tollgate.accounts import service as accounts
from tollgate.infra import idempotency
from tollgate.infra.database import Database
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock, FixedClock
from tollgate.kit.errors import InvalidRequest, RateLimited
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import Principal

ONCE = {"Idempotency-Key": "once"}


class Script:
    """What the scripted route does next: how it ends, and what it waits for on its way."""

    ending: Exception | None = None
    started: asyncio.Event
    proceed: asyncio.Event


@post("/scripted")
async def scripted(
    database: Injected[Database], clock: Injected[Clock], manager: Injected[Principal]
) -> dict[str, str]:
    async with database.write() as session:
        project = await accounts.create_project(
            session, organization_id=manager.organization_id, name="made", now=clock.now()
        )
    Script.started.set()
    await Script.proceed.wait()
    if Script.ending is not None:
        raise Script.ending
    return {"made": str(project.id)}


@post("/scripted/refused")
async def refused(database: Injected[Database], clock: Injected[Clock], manager: Injected[Principal]) -> None:
    async with database.write() as session:
        await accounts.create_project(session, organization_id=manager.organization_id, name="made", now=clock.now())
        raise InvalidRequest("no")


@post("/scripted/deferred")
async def deferred(database: Injected[Database]) -> dict[str, str]:
    async with database.write() as session:
        await session.execute(sa.text("INSERT INTO late VALUES (1), (1)"))
    return {"all": "well"}


@get("/scripted")
async def nothing() -> dict[str, str]:
    return {}


HANDLERS = (scripted, refused, deferred, nothing)


@pytest.fixture(autouse=True)
def _beginning() -> None:
    """The scripted route ends well and waits for nothing until the test says otherwise."""
    Script.ending, Script.started, Script.proceed = None, asyncio.Event(), asyncio.Event()
    Script.proceed.set()


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    """One for all whose keys are their own: nobody else's repeat is theirs."""
    async with shared_control_plane(server_url, template, "idempotency", more=HANDLERS) as opened:
        yield opened


@pytest.fixture
async def fresh(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> AsyncIterator[ControlPlane]:
    async with control_plane(database, pool, clock, database_url=database_url, more=HANDLERS) as opened:
        yield opened


async def _projects(plane: ControlPlane, manager: str) -> int:
    return len((await plane.call("GET", "/projects", key=manager)).json()["data"])


class TestRepeat:
    async def test_gets_the_first_answer_again_and_does_nothing(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        sent: dict[str, Any] = {"key": manager, "json": {"name": "mine"}, "headers": ONCE}

        first = await plane.call("POST", "/keys", **sent)
        again = await plane.call("POST", "/keys", **sent)

        assert first.status_code == again.status_code == 201
        assert again.content == first.content
        assert again.json()["key"].startswith("sk-tg-")
        assert again.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Content-Type"] == first.headers["Content-Type"]
        assert len((await plane.call("GET", "/keys", key=manager)).json()["data"]) == 2

    async def test_gets_a_refusal_again_too(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()

        first = await plane.call("POST", "/scripted/refused", key=manager, headers=ONCE)
        again = await plane.call("POST", "/scripted/refused", key=manager, headers=ONCE)

        assert first.status_code == again.status_code == 400
        assert again.headers["Idempotent-Replayed"] == "true"
        assert await _projects(plane, manager) == 0

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/projects", {"name": "other"}),
            ("POST", "/keys", {"name": "mine"}),
            ("POST", "/projects?a=1", {"name": "mine"}),
            ("PATCH", "/limits", {}),
        ],
    )
    async def test_of_something_else_is_a_conflict(
        self, plane: ControlPlane, method: str, path: str, body: dict[str, object]
    ) -> None:
        manager = await plane.a_manager()
        await plane.call("POST", "/projects", key=manager, json={"name": "mine"}, headers=ONCE)

        answer = await plane.call(method, path, key=manager, json=body, headers=ONCE)

        assert answer.status_code == 409
        assert answer.json()["error"]["type"] == "idempotency_conflict"

    async def test_by_another_key_is_no_repeat(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        managers = [await plane.a_key(organization), await plane.a_key(organization)]

        answers = [
            await plane.call("POST", "/projects", key=manager, json={"name": "mine"}, headers=ONCE)
            for manager in managers
        ]

        assert answers[0].json()["data"]["id"] != answers[1].json()["data"]["id"]

    async def test_by_a_key_revoked_since_learns_nothing(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        (own,) = (await plane.call("GET", "/keys", key=manager)).json()["data"]

        first = await plane.call("DELETE", f"/keys/{own['id']}", key=manager, headers=ONCE)
        async with asyncio.timeout(5):
            while (await plane.call("GET", "/keys", key=manager)).status_code == 200:
                pass
        again = await plane.call("DELETE", f"/keys/{own['id']}", key=manager, headers=ONCE)

        assert (first.status_code, again.status_code) == (200, 401)

    async def test_of_a_read_is_just_read(self, fresh: ControlPlane, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        answers = [await fresh.call("GET", "/scripted", headers=ONCE) for _ in range(2)]

        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, None]
        assert await pool.fetchval("SELECT count(*) FROM idempotent_answers") == 0

    @pytest.mark.parametrize("given", ["", "a" * 256, "tab\there", "n\u00e4h"])
    async def test_under_an_unusable_key_is_refused(self, plane: ControlPlane, given: str) -> None:
        answer = await plane.call(
            "POST", "/scripted", key=await plane.a_manager(), headers={"Idempotency-Key": given.encode("latin-1")}
        )

        assert answer.status_code == 400
        assert answer.json()["error"]["metadata"]["field"] == "Idempotency-Key"

    async def test_needs_a_key_that_is_good(self, plane: ControlPlane) -> None:
        answer = await plane.call("POST", "/scripted", key="sk-tg-nonsense", headers=ONCE)

        assert answer.status_code == 401

    async def test_too_large_to_read_is_refused(self, plane: ControlPlane) -> None:
        answer = await plane.call(
            "POST", "/projects", key=await plane.a_manager(), content=b" " * (1024 * 1024 + 1), headers=ONCE
        )

        assert answer.status_code == 413
        assert answer.json()["error"]["type"] == "payload_too_large"


class TestOldAnswers:
    async def test_are_dropped_and_their_writes_happen_again(self, fresh: ControlPlane) -> None:
        manager = await fresh.a_manager()
        await fresh.call("POST", "/scripted", key=manager, headers=ONCE)

        replayed = []
        for later in (timedelta(), timedelta(seconds=1)):
            async with fresh.database.write() as session:
                await idempotency.drop_before(session, fresh.clock.now() + later)
            again = await fresh.call("POST", "/scripted", key=manager, headers=ONCE)
            replayed.append(again.headers.get("Idempotent-Replayed"))

        assert replayed == ["true", None]
        assert await _projects(fresh, manager) == 2


class TestFailure:
    @pytest.mark.parametrize("ending", [RuntimeError("bug"), RateLimited("slow"), HTTPException(status_code=503)])
    async def test_leaves_nothing_so_that_a_repeat_runs(self, plane: ControlPlane, ending: Exception) -> None:
        manager = await plane.a_manager()
        Script.ending = ending

        failed = await plane.call("POST", "/scripted", key=manager, headers=ONCE)
        assert failed.status_code in {500, 429, 503}
        assert await _projects(plane, manager) == 0
        Script.ending = None
        repeated = await plane.call("POST", "/scripted", key=manager, headers=ONCE)

        assert repeated.status_code == 201
        assert "Idempotent-Replayed" not in repeated.headers
        assert await _projects(plane, manager) == 1

    async def test_of_the_commit_itself_is_told_instead_of_the_answer(
        self, fresh: ControlPlane, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        await pool.execute("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")

        answer = await fresh.call("POST", "/scripted/deferred", headers=ONCE)

        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "internal"

    async def test_of_the_process_half_way_leaves_nothing(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        Script.proceed.clear()
        dying = asyncio.create_task(plane.call("POST", "/scripted", key=manager, headers=ONCE))
        await Script.started.wait()
        dying.cancel()
        await asyncio.wait([dying])
        Script.proceed.set()

        assert await _projects(plane, manager) == 0
        assert (await plane.call("POST", "/scripted", key=manager, headers=ONCE)).status_code == 201


class TestRace:
    async def test_is_told_to_wait_for_the_first(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        Script.proceed.clear()
        first = asyncio.create_task(plane.call("POST", "/scripted", key=manager, headers=ONCE))
        await Script.started.wait()

        second = await plane.call("POST", "/scripted", key=manager, headers=ONCE)
        Script.proceed.set()

        assert second.status_code == 409
        assert second.json()["error"]["type"] == "conflict"
        assert int(second.headers["Retry-After"]) >= 1
        assert (await first).status_code == 201
        assert await _projects(plane, manager) == 1

    async def test_of_many_makes_one_thing(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()

        answers = await asyncio.gather(*(plane.call("POST", "/scripted", key=manager, headers=ONCE) for _ in range(20)))

        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert await _projects(plane, manager) == 1


class TestStorage:
    async def test_holds_neither_the_secret_nor_what_would_open_it(
        self, fresh: ControlPlane, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        manager = await fresh.a_manager()
        answer = await fresh.call("POST", "/keys", key=manager, json={"name": "mine"}, headers=ONCE)

        (row,) = await pool.fetch("SELECT * FROM idempotent_answers")

        stored = b"".join(value for value in row.values() if isinstance(value, bytes))
        for secret in (answer.json()["key"], manager, "once", "sk-tg-", "mine"):
            assert secret.encode() not in stored

    def test_is_apart_for_every_caller_and_every_key(self) -> None:
        organization = OrganizationId(UUID(int=1))

        attempts = [
            idempotency._attempt(organization, presented, given, b"content")
            for presented, given in [("sk-tg-a", "once"), ("sk-tg-b", "once"), ("sk-tg-a", "twice")]
        ]

        assert len({attempt.slot for attempt in attempts}) == 3
        sealed = attempts[0].cipher.encrypt(bytes(12), b"answer", None)
        for other in attempts[1:]:
            with pytest.raises(InvalidTag):
                other.cipher.decrypt(bytes(12), sealed, None)
