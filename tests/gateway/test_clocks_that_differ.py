"""Processes whose clocks differ by minutes, or step back: nothing counts twice, and nobody is let in twice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.gateway.clocked import Clocked, Tenant, clocked

AHEAD, BEHIND = 0, 1
EVENING = datetime(2026, 11, 30, 23, 57, 30, tzinfo=UTC)
"""A Monday, and the last day of its month: the clock that is five minutes ahead shows a day and a month later."""
GAP = timedelta(minutes=5)
CHARGE = Decimal("0.009")


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template, processes=2) as running:
        yield running


async def outcome(gateway: Clocked, tenant: Tenant, *, by: int) -> str:
    """The bound that refused a call, or "" for a call that was made."""
    answer = await gateway.call(tenant, by=by)
    return "" if answer.status_code == 200 else str(told(answer)["limit"])


def told(answer: httpx.Response) -> Any:
    return answer.json()["error"]["metadata"]


@pytest.mark.parametrize(("limit", "size"), [("daily", "0.310"), ("monthly", "0.310"), ("rpm", 2)])
async def test_the_window_that_began_first_is_everybodys(gateway: Clocked, limit: str, size: Any) -> None:
    """By two clocks together a limit admits what it admits by one, before and after the first of them crosses."""
    tenant = await gateway.tenant(limits={"project": {limit: size}})
    gateway.set(EVENING - GAP, EVENING - GAP)
    assert [await outcome(gateway, tenant, by=by) for by in (AHEAD, BEHIND, AHEAD, BEHIND)] == ["", "", limit, limit]
    gateway.set(EVENING + GAP, EVENING)
    assert [await outcome(gateway, tenant, by=by) for by in (AHEAD, BEHIND, BEHIND, AHEAD)] == ["", "", limit, limit]
    gateway.set(EVENING + 2 * GAP, EVENING + GAP)
    later = [await outcome(gateway, tenant, by=by) for by in (AHEAD, BEHIND)]
    assert later == (["", ""] if limit == "rpm" else [limit, limit])
    counter = await gateway.counter(tenant, "project")
    calls = 6 if limit == "rpm" else 4
    assert (counter["total_used"], counter["day_used"]) == (calls * CHARGE, (calls - 2) * CHARGE)
    assert (counter["total_held"], counter["day_held"], counter["concurrent"]) == (0, 0, 0)


async def test_who_is_refused_by_the_clock_behind_is_told_to_wait_by_that_clock(gateway: Clocked) -> None:
    """A minute that began by a clock five minutes ahead ends by this one six minutes later, at most."""
    tenant = await gateway.tenant(limits={"key": {"rpm": 1}})
    gateway.set(EVENING + GAP, EVENING)
    assert await outcome(gateway, tenant, by=AHEAD) == ""
    refused = await gateway.call(tenant, by=BEHIND)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "330")
    assert told(refused)["resets_at"] == "2026-12-01T00:03:00Z"
    gateway.set(EVENING + GAP, EVENING + timedelta(seconds=329))
    assert await outcome(gateway, tenant, by=BEHIND) == "rpm"
    gateway.set(EVENING + GAP, EVENING + timedelta(seconds=330))
    assert await outcome(gateway, tenant, by=BEHIND) == ""


async def test_a_clock_that_steps_back_reopens_nothing_and_loses_nothing(gateway: Clocked) -> None:
    limits = {"daily": "0.310", "weekly": "0.310", "monthly": "0.310", "rpm": 2}
    for limit, size in limits.items():
        tenant = await gateway.tenant(limits={"organization": {limit: size}})
        gateway.set(EVENING + GAP)
        assert [await outcome(gateway, tenant, by=AHEAD) for _ in range(3)] == ["", "", limit]
        for back in (timedelta(seconds=1), GAP, timedelta(days=45)):
            gateway.set(EVENING + GAP - back)
            assert await outcome(gateway, tenant, by=AHEAD) == limit
        rows = await gateway.pool.fetch(
            "SELECT id, amount FROM calls WHERE organization_id = $1", tenant.id_of("organization")
        )
        assert [row["amount"] for row in rows] == [CHARGE] * 2
        counter = await gateway.counter(tenant)
        assert (counter["total_used"], counter["month_used"], counter["total_held"]) == (2 * CHARGE, 2 * CHARGE, 0)


async def test_what_no_window_bounds_does_not_mind_the_clock(gateway: Clocked) -> None:
    """Balance, total and calls at once are the same at every hour; and ids stay apart though their time repeats."""
    tenant = await gateway.tenant(grant="0.340", limits={"key": {"total": "0.330", "concurrency": 1}})
    ids = set()
    for back in (0, 1, 2, 0):
        gateway.set(EVENING - back * timedelta(days=40))
        answer = await gateway.call(tenant)
        assert answer.status_code == 200
        ids.add(answer.headers["x-generation-id"])
    assert len(ids) == 4
    assert await outcome(gateway, tenant, by=BEHIND) == "total"


async def test_a_key_and_a_grant_end_by_the_clock_of_whoever_is_asked(gateway: Clocked) -> None:
    gateway.set(EVENING)
    tenant = await gateway.tenant(grant="0")
    ends = (EVENING + timedelta(minutes=2)).isoformat()
    terms = {"amount": "5", "category": "paid", "reason": "a test", "expires_at": ends}
    await gateway.manage("POST", f"/admin/organizations/{tenant.organization}/grants", terms)
    gateway.set(EVENING + GAP, EVENING)
    assert [(await gateway.call(tenant, by=by)).status_code for by in (AHEAD, BEHIND)] == [402, 200]
    gateway.set(EVENING)
    await gateway.manage("PATCH", f"/keys/{tenant.key_id}", {"expires_at": ends}, key=tenant.manager)
    gateway.set(EVENING + GAP, EVENING)
    assert [(await gateway.call(tenant, by=by)).status_code for by in (AHEAD, BEHIND)] == [401, 200]
