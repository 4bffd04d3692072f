"""Organizations, projects and limits over HTTP, on a real database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.control_plane import ControlPlane, control_plane, shared_control_plane

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock

ANYWHERE: dict[str, object] = {
    "models": None, "providers": None, "ignore": [], "data_collection": "allow", "zdr": False, "max_price": None,
}  # fmt: skip


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    """One for all: what one test leaves there is none of another's business."""
    async with shared_control_plane(server_url, template, "accounts") as opened:
        yield opened


@pytest.fixture
async def fresh(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> AsyncIterator[ControlPlane]:
    async with control_plane(database, pool, clock, database_url=database_url) as opened:
        yield opened


class TestOrganizations:
    async def test_start_prepaid_in_utc_and_dollars_without_credit(self, plane: ControlPlane) -> None:
        answer = await plane.call("POST", "/admin/organizations", json={"name": "Acme", "currency": None})

        organization = answer.json()["data"]
        assert answer.status_code == 201
        assert organization.pop("id").startswith("org_")
        assert organization == {
            "name": "Acme",
            "billing_mode": "prepaid",
            "credit_limit": "0",
            "timezone": "UTC",
            "currency": "USD",
            "status": "active",
            "limits": dict.fromkeys(
                ["total", "daily", "weekly", "monthly", "rpm", "tpm", "concurrency", "alert_percent", "credits_alert"]
            ),
            "routing": ANYWHERE,
            "created_at": "2026-11-22T12:00:00Z",
        }

    async def test_are_read_back_as_they_were_created(self, plane: ControlPlane) -> None:
        body = {"name": "Acme", "billing_mode": "postpaid", "credit_limit": "250.50", "timezone": "Asia/Kathmandu"}
        created = (await plane.call("POST", "/admin/organizations", json=body)).json()["data"]

        read = (await plane.call("GET", f"/admin/organizations/{created['id']}")).json()["data"]

        assert read == created
        assert read["credit_limit"] == "250.5"

    async def test_change_what_may_change(self, plane: ControlPlane) -> None:
        path = f"/admin/organizations/{await plane.an_organization()}"
        change = {"name": "Acme 2", "credit_limit": None, "timezone": "Europe/Berlin", "status": "suspended"}

        answer = await plane.call("PATCH", path, json=change)

        assert answer.status_code == 200
        assert change.items() <= answer.json()["data"].items()
        assert (await plane.call("GET", path)).json() == answer.json()

    async def test_are_given_limits_by_the_operator_which_their_managers_see(self, plane: ControlPlane) -> None:
        body = {"name": "Acme", "limits": {"monthly": "20", "rpm": 600}}
        created = (await plane.call("POST", "/admin/organizations", json=body)).json()["data"]
        assert (created["limits"]["monthly"], created["limits"]["rpm"]) == ("20", 600)
        manager = await plane.a_key(created["id"])

        change = {"limits": {"monthly": None, "daily": "5"}}
        changed = (await plane.call("PATCH", f"/admin/organizations/{created['id']}", json=change)).json()["data"]

        expected = created["limits"] | {"monthly": None, "daily": "5"}
        assert changed == created | {"limits": expected}
        assert (await plane.call("GET", "/limits", key=manager)).json()["data"] == expected
        for wrong in ({"limits": {"rpm": -1}}, {"limits": {"hourly": "1"}}, {"limits": None}):
            answer = await plane.call("PATCH", f"/admin/organizations/{created['id']}", json=wrong)
            assert answer.status_code == 400, wrong

    @pytest.mark.parametrize(("field", "value"), [("currency", "EUR"), ("billing_mode", "postpaid")])
    async def test_keep_what_their_books_rest_on(self, plane: ControlPlane, field: str, value: str) -> None:
        path = f"/admin/organizations/{await plane.an_organization()}"

        answer = await plane.call("PATCH", path, json={field: value})

        assert answer.status_code == 409
        assert answer.json()["error"]["type"] == "conflict"
        assert answer.json()["error"]["metadata"] == {"field": field}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "  "}, "name"),
            ({"name": "a" * 201}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": 7}, "name"),
            ({"name": "Acme", "credit_limit": 5}, "credit_limit"),
            ({"name": "Acme", "credit_limit": "-1"}, "credit_limit"),
            ({"name": "Acme", "credit_limit": "NaN"}, "credit_limit"),
            ({"name": "Acme", "credit_limit": "0.0000000000001"}, "credit_limit"),
            ({"name": "Acme", "currency": "usd"}, "currency"),
            ({"name": "Acme", "currency": "USDX"}, "currency"),
            ({"name": "Acme", "timezone": "Mars/Olympus"}, "timezone"),
            ({"name": "Acme", "timezone": "../../etc/passwd"}, "timezone"),
            ({"name": "Acme", "timezone": "posixrules"}, "timezone"),
            ({"name": "Acme", "billing_mode": "free"}, "billing_mode"),
            ({"name": "Acme", "colour": "red"}, "colour"),
        ],
    )
    async def test_refuse_what_cannot_be(self, plane: ControlPlane, body: dict[str, object], field: str) -> None:
        before = (await plane.call("GET", "/admin/organizations")).json()
        answer = await plane.call("POST", "/admin/organizations", json=body)

        assert answer.status_code == 400
        assert answer.json()["error"]["metadata"]["field"] == field
        assert (await plane.call("GET", "/admin/organizations")).json() == before

    async def test_are_listed_newest_first_a_page_at_a_time(self, fresh: ControlPlane) -> None:
        created = [await fresh.an_organization(f"Acme {number}") for number in range(5)]

        first = (await fresh.call("GET", "/admin/organizations?limit=2")).json()
        second = (await fresh.call("GET", f"/admin/organizations?limit=2&cursor={first['next']}")).json()
        last = (await fresh.call("GET", f"/admin/organizations?limit=2&cursor={second['next']}")).json()

        listed = [each["id"] for part in (first, second, last) for each in part["data"]]
        assert sorted(listed) == sorted(created)
        assert listed == sorted(listed, reverse=True)
        assert last["next"] is None

    @pytest.mark.parametrize("organization", ["org_0", "org_" + "0" * 36, "key_0198", "no such thing"])
    async def test_are_not_found_under_an_id_that_is_none(self, plane: ControlPlane, organization: str) -> None:
        assert (await plane.call("GET", f"/admin/organizations/{organization}")).status_code == 404

    async def test_are_for_operators_alone(self, plane: ControlPlane) -> None:
        answer = await plane.call("GET", "/admin/organizations", key=await plane.a_manager())

        assert answer.status_code == 403
        assert "ok-tg-" in answer.json()["error"]["message"]


class TestProjects:
    async def test_are_created_with_limits_changed_and_archived(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        body = {"name": "Search", "limits": {"monthly": "20", "rpm": 60}}
        created = (await plane.call("POST", "/projects", key=manager, json=body)).json()["data"]
        path = f"/projects/{created['id']}"

        changed = (
            await plane.call("PATCH", path, key=manager, json={"name": "Find", "limits": {"rpm": None, "tpm": 0}})
        ).json()["data"]
        archived = (await plane.call("DELETE", path, key=manager)).json()["data"]

        assert created["limits"]["monthly"] == "20"
        assert changed["name"] == "Find"
        assert (changed["limits"]["monthly"], changed["limits"]["rpm"], changed["limits"]["tpm"]) == ("20", None, 0)
        assert archived == {**changed, "archived_at": "2026-11-22T12:00:00Z"}
        assert (await plane.call("GET", path, key=manager)).json()["data"] == archived

    async def test_are_listed_without_the_archived_unless_asked_for(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        kept = (await plane.call("POST", "/projects", key=manager, json={"name": "Kept"})).json()["data"]["id"]
        gone = (await plane.call("POST", "/projects", key=manager, json={"name": "Gone"})).json()["data"]["id"]
        await plane.call("DELETE", f"/projects/{gone}", key=manager)

        live = (await plane.call("GET", "/projects", key=manager)).json()["data"]
        every = (await plane.call("GET", "/projects?include_archived=true", key=manager)).json()["data"]

        assert [each["id"] for each in live] == [kept]
        assert {each["id"] for each in every} == {kept, gone}

    async def test_archived_are_neither_renamed_nor_given_keys(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        project = (await plane.call("POST", "/projects", key=manager, json={"name": "Gone"})).json()["data"]["id"]
        first = await plane.call("DELETE", f"/projects/{project}", key=manager)

        renamed = await plane.call("PATCH", f"/projects/{project}", key=manager, json={"name": "Back"})
        keyed = await plane.call("POST", "/keys", key=manager, json={"name": "k", "project": project})
        again = await plane.call("DELETE", f"/projects/{project}", key=manager)

        assert (renamed.status_code, keyed.status_code) == (409, 409)
        assert again.json() == first.json()

    async def test_of_another_organization_do_not_exist(self, plane: ControlPlane) -> None:
        manager, stranger = await plane.a_manager("Acme"), await plane.a_manager("Rival")
        project = (await plane.call("POST", "/projects", key=manager, json={"name": "Ours"})).json()["data"]["id"]

        answers = [
            await plane.call("GET", f"/projects/{project}", key=stranger),
            await plane.call("PATCH", f"/projects/{project}", key=stranger, json={"name": "Theirs"}),
            await plane.call("DELETE", f"/projects/{project}", key=stranger),
            await plane.call("POST", "/keys", key=stranger, json={"name": "k", "project": project}),
        ]

        assert [answer.status_code for answer in answers] == [404] * 4
        assert {answer.json()["error"]["message"] for answer in answers} == {"There is no such project."}
        assert (await plane.call("GET", "/projects", key=stranger)).json()["data"] == []


class TestLimits:
    async def test_change_only_where_they_are_named(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        await plane.call("PATCH", "/limits", key=manager, json={"total": "100", "monthly": "0", "alert_percent": 80})

        answer = await plane.call("PATCH", "/limits", key=manager, json={"total": None, "daily": "2.50"})

        limits = (await plane.call("GET", "/limits", key=manager)).json()["data"]
        assert answer.json()["data"] == limits
        assert (limits["total"], limits["daily"], limits["monthly"]) == (None, "2.5", "0")
        assert limits["alert_percent"] == 80

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"monthly": 20}, "monthly"),
            ({"monthly": 0.1}, "monthly"),
            ({"monthly": "-0.01"}, "monthly"),
            ({"rpm": -1}, "rpm"),
            ({"rpm": "60"}, "rpm"),
            ({"rpm": 1.5}, "rpm"),
            ({"alert_percent": 0}, "alert_percent"),
            ({"alert_percent": 101}, "alert_percent"),
            ({"yearly": "1"}, "yearly"),
        ],
    )
    async def test_refuse_what_cannot_be(self, plane: ControlPlane, body: dict[str, object], field: str) -> None:
        answer = await plane.call("PATCH", "/limits", key=await plane.a_manager(), json=body)

        assert answer.status_code == 400
        assert answer.json()["error"]["metadata"]["field"] == field

    async def test_of_a_part_are_named_with_their_path(self, plane: ControlPlane) -> None:
        body = {"name": "Search", "limits": {"monthly": 20}}

        answer = await plane.call("POST", "/projects", key=await plane.a_manager(), json=body)

        assert answer.json()["error"]["metadata"]["field"] == "limits.monthly"
        assert "decimal string" in answer.json()["error"]["message"]
