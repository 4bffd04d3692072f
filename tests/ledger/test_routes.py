"""What the operator does with an organization's credit: grants, top-ups, voids and adjustments."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tests.conftest import NOON
from tests.control_plane import ControlPlane, control_plane, shared_control_plane

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


@pytest.fixture(scope="module")
async def shared(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "ledger") as opened:
        yield opened


@pytest.fixture
def plane(shared: ControlPlane) -> ControlPlane:
    """One for all, at noon: each test looks at organizations of its own."""
    shared.clock.at = NOON
    return shared


@pytest.fixture
async def fresh(
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


async def path_of(plane: ControlPlane, what: str = "grants") -> str:
    """The path of a new organization's grants or adjustments."""
    return f"/admin/organizations/{await plane.an_organization()}/{what}"


async def data(plane: ControlPlane, method: str, path: str, status: int, **body: Any) -> Any:
    answer = await plane.call(method, path, json=body or None)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


class TestVoiding:
    async def test_tells_what_became_of_the_grant(self, plane: ControlPlane) -> None:
        path = await path_of(plane)
        grant = await data(plane, "POST", path, 201, amount="5", category="promotional", reason="welcome")
        plane.clock.at += timedelta(minutes=1)

        voided = await data(plane, "POST", f"{path}/{grant['id']}/void", 200, reason="a mistake")

        assert voided == {
            **grant,
            "voided": "5",
            "remaining": "0",
            "voided_at": "2026-11-22T12:01:00Z",
            "ends_at": "2026-11-22T12:01:00Z",
            "void_reason": "a mistake",
        }
        plane.clock.at += timedelta(minutes=1)
        assert await data(plane, "POST", f"{path}/{grant['id']}/void", 200, reason="again") == voided
        assert await data(plane, "GET", path, 200) == [voided]

    async def test_of_what_expired_conflicts(self, plane: ControlPlane) -> None:
        path = await path_of(plane)
        grant = await data(plane, "POST", path, 201, amount="5", expires_at="2026-11-22T13:00:00Z")
        plane.clock.at += timedelta(hours=1)

        answer = await plane.call("POST", f"{path}/{grant['id']}/void", json={"reason": "late"})

        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "conflict")

    async def test_needs_a_reason_and_a_grant_of_the_organizations(self, plane: ControlPlane) -> None:
        path, other = await path_of(plane), await path_of(plane)
        grant = await data(plane, "POST", path, 201, amount="5")
        for body in ({}, {"reason": ""}, {"reason": None}, {"reason": "x" * 501}, {"reason": "x", "when": "now"}):
            assert (await plane.call("POST", f"{path}/{grant['id']}/void", json=body)).status_code == 400, body
        for wrong in (f"{other}/{grant['id']}", f"{path}/grt_x", f"{path}/{grant['id'].replace('grt', 'key')}"):
            assert (await plane.call("POST", f"{wrong}/void", json={"reason": "x"})).status_code == 404, wrong

    async def test_is_the_operators(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        path, manager = f"/admin/organizations/{organization}", await plane.a_key(organization)
        grant = await data(plane, "POST", f"{path}/grants", 201, amount="5")
        for act, body in (
            (f"grants/{grant['id']}/void", {"reason": "x"}),
            ("adjustments", {"amount": "1", "reason": "x"}),
        ):
            assert (await plane.call("POST", f"{path}/{act}", key=manager, json=body)).status_code == 403
        assert (await plane.call("GET", f"{path}/adjustments", key=manager)).status_code == 403


class TestTopUps:
    async def test_are_credited_once_by_their_reference(self, plane: ControlPlane) -> None:
        path = await path_of(plane)
        body = {"amount": "100", "category": "paid", "reference": "wire 2026/17"}
        first = await data(plane, "POST", path, 201, **body)
        plane.clock.at += timedelta(days=3)

        assert await data(plane, "POST", path, 201, **{**body, "amount": "100.00"}) == first
        other = await plane.call("POST", path, json={**body, "amount": "101"})
        assert (other.status_code, other.json()["error"]["type"]) == (409, "conflict")
        assert other.json()["error"]["metadata"] == {
            "grant": first["id"],
            "differing": ["amount"],
            "field": "reference",
        }
        assert (first["reference"], await data(plane, "GET", path, 200)) == ("wire 2026/17", [first])

    async def test_without_a_reference_are_as_many_as_are_told(self, plane: ControlPlane) -> None:
        path = await path_of(plane)
        for _ in range(2):
            await data(plane, "POST", path, 201, amount="1")
        assert len(await data(plane, "GET", path, 200)) == 2
        for reference in ("", "x" * 201, 17):
            body = {"amount": "1", "reference": reference}
            assert (await plane.call("POST", path, json=body)).status_code == 400, reference


class TestAdjustments:
    async def test_move_the_balance_at_once(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization(credit_limit="10")
        path, manager = f"/admin/organizations/{organization}/adjustments", await plane.a_key(organization)

        async def available() -> Any:
            return (await plane.call("GET", "/credits", key=manager)).json()["data"]["available"]

        favour = await data(plane, "POST", path, 201, amount="2.50", reason="an outage")
        assert await available() == "12.5"
        plane.clock.at += timedelta(seconds=1)
        charge = await data(plane, "POST", path, 201, amount="-4.00", reason="a setup fee")
        assert await available() == "8.5"

        assert favour == {
            "id": favour["id"],
            "organization": organization,
            "amount": "2.5",
            "currency": "USD",
            "reason": "an outage",
            "grant": favour["id"].replace("adj", "grt"),
            "credits_amount": "0",
            "created_at": "2026-11-22T12:00:00Z",
        }
        assert [charge[name] for name in ("amount", "grant", "credits_amount")] == ["-4", None, "2.5"]
        assert await data(plane, "GET", path, 200) == [charge, favour]
        first = (await plane.call("GET", f"{path}?limit=1")).json()
        assert (await plane.call("GET", f"{path}?cursor={first['next']}")).json() == {"data": [favour], "next": None}
        moved = (await plane.call("GET", "/credits/transactions", key=manager)).json()["data"]
        assert [(each["cause"], each["cause_id"]) for each in moved] == [
            *[("adjustment", charge["id"])] * 2,
            ("adjustment", favour["id"]),
        ]

    async def test_are_more_or_less_than_nothing_and_have_a_reason(self, plane: ControlPlane) -> None:
        path = await path_of(plane, "adjustments")
        for amount in ("0", "-0.00", "1e3", "", "0.0000000000001", "-" + "9" * 19, 1, None):
            answer = await plane.call("POST", path, json={"amount": amount, "reason": "x"})
            assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (400, "amount"), amount
        for body in ({"amount": "1"}, {"amount": "1", "reason": ""}, {"amount": "1", "reason": "x", "currency": "USD"}):
            assert (await plane.call("POST", path, json=body)).status_code == 400, body
        assert await data(plane, "GET", path, 200) == []

    async def test_of_nobody_are_not_found(self, fresh: ControlPlane) -> None:
        path = (await path_of(fresh, "adjustments")).replace("org_0", "org_1")
        assert (await fresh.call("POST", path, json={"amount": "1", "reason": "x"})).status_code == 404
        assert (await fresh.call("GET", path)).status_code == 404
        assert (
            await fresh.pool.fetchval(
                "SELECT count(*) FROM counters WHERE organization_id NOT IN (SELECT id FROM organizations)"
            )
            == 0
        )


async def test_a_repeat_with_its_idempotency_key_happens_once(plane: ControlPlane) -> None:
    organization = await plane.an_organization()
    path = f"/admin/organizations/{organization}"
    grant = await data(plane, "POST", f"{path}/grants", 201, amount="5")
    for act, body in (
        ("adjustments", {"amount": "-1", "reason": "x"}),
        ("adjustments", {"amount": "1", "reason": "x"}),
        (f"grants/{grant['id']}/void", {"reason": "x"}),
    ):
        headers = {"Idempotency-Key": f"{act} {body}"}
        first, again = [await plane.call("POST", f"{path}/{act}", json=body, headers=headers) for _ in range(2)]
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert again.headers["idempotent-replayed"] == "true"
        other = await plane.call("POST", f"{path}/{act}", json={**body, "reason": "y"}, headers=headers)
        assert (other.status_code, other.json()["error"]["type"]) == (409, "idempotency_conflict")
    assert len(await data(plane, "GET", f"{path}/adjustments", 200)) == 2


async def test_without_keys_of_stripe_buying_says_what_is_missing_and_the_rest_works(plane: ControlPlane) -> None:
    manager, back = await plane.a_manager(), "https://shop.test"
    for method, path, body in (
        ("POST", "/credits/top-ups", {"amount": "5", "success_url": back, "cancel_url": back}),
        ("POST", "/payments/set-up", {"success_url": back, "cancel_url": back}),
        ("POST", "/payments/portal", {"return_url": back}),
        ("GET", "/payments/method", None),
    ):
        answer = await plane.call(method, path, key=manager, json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "conflict"), path
        assert "TOLLGATE_STRIPE_SECRET_KEY" in answer.json()["error"]["message"]
    assert (await plane.client.post("/webhooks/stripe", content=b"{}")).status_code == 409
    assert (await plane.call("GET", "/credits/top-ups", key=manager)).json()["data"] == []
    assert (await plane.call("GET", "/credits", key=manager)).status_code == 200
