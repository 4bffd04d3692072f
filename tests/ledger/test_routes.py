"""The operator's list of an organization's grants."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from tests.control_plane import ControlPlane, control_plane

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


@pytest.fixture
async def plane(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> AsyncIterator[ControlPlane]:
    async with control_plane(database, pool, clock, database_url=database_url) as opened:
        yield opened


async def test_grants_are_listed_newest_first_a_page_at_a_time(plane: ControlPlane) -> None:
    path = f"/admin/organizations/{await plane.an_organization()}/grants"
    given = []
    for amount in ("1", "2", "3"):
        answer = await plane.call("POST", path, json={"amount": amount, "category": "paid"})
        given.append(answer.json()["data"])
        plane.clock.at += timedelta(seconds=1)

    first = (await plane.call("GET", f"{path}?limit=2")).json()
    rest = (await plane.call("GET", f"{path}?limit=2&cursor={first['next']}")).json()

    assert (first["data"], rest["data"], rest["next"]) == (given[:0:-1], given[:1], None)
    for wrong in ("limit=0", "limit=1001", "cursor=x", "colour=red"):
        assert (await plane.call("GET", f"{path}?{wrong}")).status_code == 400, wrong


async def test_null_leaves_open_what_a_grant_need_not_say(plane: ControlPlane) -> None:
    path = f"/admin/organizations/{await plane.an_organization()}/grants"
    open_fields = dict.fromkeys(("category", "priority", "expires_at", "reason"))
    answers = [await plane.call("POST", path, json={"amount": "5", **given}) for given in ({}, open_fields)]
    assert [answer.status_code for answer in answers] == [201, 201]
    silent, null = ({**answer.json()["data"], "id": None} for answer in answers)
    assert silent == null
    assert (null["category"], null["priority"], null["remaining"]) == ("paid", 50, "5")
