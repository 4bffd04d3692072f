"""What an operator sees of the work of workers: what waits, what failed, and which months could not be closed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.control_plane import ControlPlane, shared_control_plane
from tests.invoices.builders import PLAIN, Books, Used, at

from tollgate.infra import jobs
from tollgate.invoices import tasks
from tollgate.kit import ids
from tollgate.kit.clock import FixedClock
from tollgate.kit.tokens import Kind

GRACE = timedelta(hours=1)


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "work") as opened:
        yield opened


async def told(plane: ControlPlane) -> Any:
    answer = await plane.call("GET", "/admin/status")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_an_installation_at_rest_has_no_work(plane: ControlPlane) -> None:
    seen = await told(plane)

    nothing: dict[str, Any] = {"waiting": 0, "oldest_age_seconds": None, "running": 0, "failed": {}, "scheduled": {}}
    assert seen["jobs"] == nothing
    assert seen["closing"] == {"due": 0, "failed": 0, "failures": []}


async def test_a_month_that_cannot_be_closed_is_told_with_its_reason(plane: ControlPlane) -> None:
    books, clock = Books(plane.database, plane.pool), FixedClock(at(11, 1, 2))
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5), {**PLAIN, Kind.WEB_SEARCH: 1}))
    owner = ids.typed("org", organization.id)

    await tasks.ask_for_due(plane.database, clock, GRACE)
    waiting = await told(plane)
    await tasks.close_due(plane.database, clock, GRACE, owner)
    failing = await told(plane)

    assert (waiting["jobs"]["waiting"], waiting["closing"]["due"]) == (1, 1)
    assert waiting["jobs"]["oldest_age_seconds"] is not None
    [failure] = failing["closing"]["failures"]
    assert failing["closing"]["failed"] == 1
    assert (failure["organization"], failure["month"], failure["since"]) == (owner, "2026-10", "2026-11-01T02:00:00Z")
    assert "web_search" in failure["reason"]


async def test_failed_runs_and_schedules_are_told_by_name(plane: ControlPlane) -> None:
    await plane.pool.execute(
        "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint) VALUES (1, 'exception', 0, 'close-months')"
    )
    await plane.pool.execute(
        "INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('* * * * *', 'grants-end')"
    )

    seen = await told(plane)

    assert seen["jobs"]["failed"] == {"close-months": 1}
    assert seen["jobs"]["scheduled"] == {"grants-end": None}
    async with plane.database.write() as session:
        await jobs.forget_failures(session)
