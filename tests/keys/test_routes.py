"""Keys over HTTP, on a real database: their whole life, and the walls between organizations."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.control_plane import ControlPlane, control_plane, shared_control_plane

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    """One for all: what one test leaves there is none of another's business."""
    async with shared_control_plane(server_url, template, "keys") as opened:
        yield opened


@pytest.fixture
async def fresh(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, database_url: str
) -> AsyncIterator[ControlPlane]:
    async with control_plane(database, pool, clock, database_url=database_url) as opened:
        yield opened


async def _created(plane: ControlPlane, manager: str, **body: object) -> dict[str, object]:
    answer = await plane.call("POST", "/keys", key=manager, json={"name": "mine", **body})
    assert answer.status_code == 201, answer.text
    shown: dict[str, object] = answer.json()["data"]
    return shown


class TestKeys:
    async def test_are_inference_keys_without_bounds_unless_told_otherwise(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()

        answer = await plane.call("POST", "/keys", key=manager, json={"name": "mine"})

        key = answer.json()["data"]
        text = answer.json()["key"]
        assert answer.status_code == 201
        assert text.startswith("sk-tg-")
        assert key.pop("id").startswith("key_")
        assert key == {
            "kind": "inference",
            "name": "mine",
            "label": f"{text[:9]}…{text[-4:]}",
            "project": None,
            "models": None,
            "routing": {
                "providers": None,
                "ignore": [],
                "data_collection": "allow",
                "zdr": False,
                "max_price": None,
            },
            "limits": dict.fromkeys(
                ["total", "daily", "weekly", "monthly", "rpm", "tpm", "concurrency", "alert_percent"]
            ),
            "tags": [],
            "expires_at": None,
            "disabled": False,
            "created_at": "2026-11-22T12:00:00Z",
            "revoked_at": None,
        }

    async def test_show_their_text_once(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        answer = await plane.call("POST", "/keys", key=manager, json={"name": "mine"})
        key, text = answer.json()["data"], answer.json()["key"]

        one = await plane.call("GET", f"/keys/{key['id']}", key=manager)
        many = await plane.call("GET", "/keys", key=manager)

        secret = text.rpartition("-")[2][:43]
        assert one.json() == {"data": key}
        assert text not in one.text + many.text
        assert secret not in one.text + many.text

    async def test_are_stored_without_their_secret(
        self, fresh: ControlPlane, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        text = await fresh.a_key(await fresh.an_organization())

        stored = "\n".join([str(dict(row)) for row in await pool.fetch("SELECT * FROM api_keys")])

        assert text.split("-")[2] in stored
        assert text.rpartition("-")[2][:43] not in stored

    async def test_take_all_that_bounds_them(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        project = (await plane.call("POST", "/projects", key=manager, json={"name": "p"})).json()["data"]["id"]
        body = {
            "project": project,
            "models": ["openai/gpt-4.1-mini"],
            "limits": {"monthly": "20", "rpm": 600},
            "tags": ["ci", "eu"],
            "expires_at": "2027-01-01T02:00:00+02:00",
        }

        key = await _created(plane, manager, **body)

        assert key["limits"] == {**dict.fromkeys(key["limits"]), "monthly": "20", "rpm": 600}  # type: ignore[call-overload]  # limits are an object
        assert key["expires_at"] == "2027-01-01T00:00:00Z"
        assert {name: key[name] for name in ("project", "models", "tags")} == {
            name: body[name] for name in ("project", "models", "tags")
        }

    async def test_change_only_where_they_are_named(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        key = await _created(plane, manager, tags=["a"], limits={"daily": "1"}, expires_at="2027-01-01T00:00:00Z")
        change = {"name": "ours", "models": ["a/b"], "expires_at": None, "disabled": True, "limits": {"rpm": 1}}

        answer = await plane.call("PATCH", f"/keys/{key['id']}", key=manager, json=change)

        changed = answer.json()["data"]
        assert answer.status_code == 200
        assert {name: changed[name] for name in ("name", "models", "expires_at", "disabled", "tags")} == {
            "name": "ours",
            "models": ["a/b"],
            "expires_at": None,
            "disabled": True,
            "tags": ["a"],
        }
        assert (changed["limits"]["daily"], changed["limits"]["rpm"]) == ("1", 1)
        assert (await plane.call("GET", f"/keys/{key['id']}", key=manager)).json()["data"] == changed

    async def test_rotated_keep_their_id_and_lose_their_old_text(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        made = (await plane.call("POST", "/keys", key=manager, json={"name": "m", "kind": "management"})).json()

        rotated = (await plane.call("POST", f"/keys/{made['data']['id']}/rotate", key=manager)).json()

        assert rotated["data"]["id"] == made["data"]["id"]
        assert rotated["data"]["label"] != made["data"]["label"]
        assert (await plane.call("GET", "/keys", key=made["key"])).status_code == 401
        assert (await plane.call("GET", "/keys", key=rotated["key"])).status_code == 200

    async def test_revoked_stay_on_record_and_open_nothing(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        made = (await plane.call("POST", "/keys", key=manager, json={"name": "m", "kind": "management"})).json()
        path = f"/keys/{made['data']['id']}"

        answer = await plane.call("DELETE", path, key=manager)

        assert answer.status_code == 200
        assert answer.json()["data"] == {**made["data"], "revoked_at": "2026-11-22T12:00:00Z"}
        assert (await plane.call("DELETE", path, key=manager)).json() == answer.json()
        assert (await plane.call("PATCH", path, key=manager, json={"disabled": False})).status_code == 409
        assert (await plane.call("POST", f"{path}/rotate", key=manager)).status_code == 409
        refused = await plane.call("GET", "/keys", key=made["key"])
        assert (refused.status_code, refused.json()["error"]["message"]) == (401, "This API key was revoked.")
        assert "Bearer" in refused.headers["WWW-Authenticate"]

    async def test_may_revoke_themselves(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        (own,) = (await plane.call("GET", "/keys", key=manager)).json()["data"]

        assert (await plane.call("DELETE", f"/keys/{own['id']}", key=manager)).status_code == 200

    async def test_are_found_by_project_tag_and_part_of_the_name(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        project = (await plane.call("POST", "/projects", key=manager, json={"name": "p"})).json()["data"]["id"]
        filed = await _created(plane, manager, name="100% Search_Bot", project=project)
        tagged = await _created(plane, manager, name="Other", tags=["ci", "eu"])
        gone = await _created(plane, manager, name="Gone")
        await plane.call("DELETE", f"/keys/{gone['id']}", key=manager)

        async def found(filters: str) -> set[object]:
            listed = (await plane.call("GET", f"/keys?{filters}", key=manager)).json()["data"]
            return {each["id"] for each in listed if each["kind"] == "inference"}

        assert await found("") == {filed["id"], tagged["id"]}
        assert await found("include_revoked=true") == {filed["id"], tagged["id"], gone["id"]}
        assert await found(f"project={project}") == {filed["id"]}
        assert await found("tag=ci") == {tagged["id"]}
        assert await found("tag=c") == set()
        assert await found("q=search_bot") == {filed["id"]}
        assert await found("q=0%25 s") == {filed["id"]}
        assert await found("q=%25_%25") == set()
        assert await found(f"q={str(tagged['label'])[:9]}") == {tagged["id"]}

    async def test_are_listed_newest_first_a_page_at_a_time(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        made = {(await _created(plane, manager, name=str(number)))["id"] for number in range(5)}

        listed: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            part = (await plane.call("GET", f"/keys?limit=2{cursor}", key=manager)).json()
            listed += [each["id"] for each in part["data"]]
            cursor = f"&cursor={part['next']}" if part["next"] else None

        assert made < set(listed)
        assert len(listed) == len(made) + 1
        assert listed == sorted(listed, reverse=True)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": "m", "kind": "operator"}, "kind"),
            ({"name": "m", "project": "p"}, "project"),
            ({"name": "m", "project": "org_01890000-0000-7000-8000-000000000000"}, "project"),
            ({"name": "m", "models": "a/b"}, "models"),
            ({"name": "m", "models": ["b"]}, "models"),
            ({"name": "m", "tags": [1]}, "tags[0]"),
            ({"name": "m", "expires_at": "2026-11-22T12:00:00Z"}, "expires_at"),
            ({"name": "m", "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
            ({"name": "m", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
            ({"name": "m", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
            ({"name": "m", "expires_at": 1800000000}, "expires_at"),
            ({"name": "m", "limits": {"monthly": 1}}, "limits.monthly"),
            ({"name": "m", "secret": "x"}, "secret"),
            ({"name": "a\x00b"}, None),
        ],
    )
    async def test_refuse_what_cannot_be(self, plane: ControlPlane, body: dict[str, object], field: str | None) -> None:
        answer = await plane.call("POST", "/keys", key=await plane.a_manager(), json=body)

        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request"
        assert answer.json()["error"]["metadata"].get("field") == field

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("limit=1&limit=2", "limit"),
            ("cursor=nonsense", "cursor"),
            ("cursor=%C3%A9", "cursor"),
            ("include_revoked=1", "include_revoked"),
            ("colour=red", "colour"),
            ("project=prj_1", "project"),
            ("q=%00", "q"),
            ("q=%ff", None),
        ],
    )
    async def test_refuse_queries_they_do_not_understand(
        self, plane: ControlPlane, query: str, field: str | None
    ) -> None:
        answer = await plane.call("GET", f"/keys?{query}", key=await plane.a_manager())

        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["metadata"].get("field") == field


class TestAudiences:
    async def test_need_the_right_kind_of_key(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        inference = await plane.a_key(organization, "inference")

        answers = [await plane.call("GET", "/keys", key=inference), await plane.call("GET", "/keys")]

        for answer in answers:
            assert answer.status_code == 403
            assert answer.json()["error"]["type"] == "permission"
            assert "mk-tg-" in answer.json()["error"]["message"]

    async def test_need_a_key_at_all(self, plane: ControlPlane) -> None:
        answer = await plane.client.get("/api/v1/keys")

        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication"

    @pytest.mark.parametrize("header", ["Authorization", "x-api-key", "x-goog-api-key"])
    async def test_may_send_it_in_any_of_the_usual_headers(self, plane: ControlPlane, header: str) -> None:
        manager = await plane.a_manager()
        value = f"Bearer {manager}" if header == "Authorization" else manager

        assert (await plane.client.get("/api/v1/keys", headers={header: value})).status_code == 200


class TestOrganizations:
    async def test_cannot_reach_each_others_keys_and_learn_nothing_of_them(self, plane: ControlPlane) -> None:
        manager, stranger = await plane.a_manager("Acme"), await plane.a_manager("Rival")
        key = (await _created(plane, manager))["id"]
        nothing = "key_01890000-0000-7000-8000-000000000000"
        acts: list[tuple[str, str, dict[str, object]]] = [
            ("GET", "", {}),
            ("PATCH", "", {"json": {"disabled": True}}),
            ("DELETE", "", {}),
            ("POST", "/rotate", {}),
        ]

        for method, suffix, body in acts:
            theirs = await plane.call(method, f"/keys/{key}{suffix}", key=stranger, **body)
            none = await plane.call(method, f"/keys/{nothing}{suffix}", key=stranger, **body)
            assert theirs.status_code == 404
            assert theirs.json() == none.json()
        assert str(key) not in (await plane.call("GET", "/keys?include_revoked=true", key=stranger)).text
        untouched = (await plane.call("GET", f"/keys/{key}", key=manager)).json()["data"]
        assert (untouched["disabled"], untouched["revoked_at"]) == (False, None)

    async def test_that_do_not_exist_have_no_keys(self, plane: ControlPlane) -> None:
        path = "/admin/organizations/org_01890000-0000-7000-8000-000000000000/keys"

        assert (await plane.call("GET", path)).status_code == 404
        assert (await plane.call("POST", path, json={"name": "m"})).status_code == 404

    async def test_have_their_keys_listed_for_operators(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        await plane.a_key(organization)

        listed = (await plane.call("GET", f"/admin/organizations/{organization}/keys")).json()

        assert [each["kind"] for each in listed["data"]] == ["management"]
        assert listed["next"] is None
