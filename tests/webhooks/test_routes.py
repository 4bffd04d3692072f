"""Webhooks over HTTP: entered, shown without their secret, changed, replayed, and nobody else's."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane import ControlPlane, shared_control_plane

from tollgate.infra.sealing import Seal
from tollgate.infra.settings import Settings
from tollgate.webhooks.model import EventType

URL = "https://hooks.example.com/tollgate"


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "webhooks") as opened:
        yield opened


@pytest.fixture
async def manager(plane: ControlPlane) -> str:
    return await plane.a_manager()


async def created(plane: ControlPlane, key: str, **body: Any) -> tuple[dict[str, Any], str]:
    answer = await plane.call("POST", "/webhooks", key=key, json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"], answer.json()["secret"]


async def data(plane: ControlPlane, method: str, path: str, key: str, **rest: Any) -> Any:
    answer = await plane.call(method, path, key=key, **rest)
    assert answer.status_code < 300, answer.text
    return answer.json()["data"]


async def test_an_endpoint_is_entered_shown_changed_and_removed(plane: ControlPlane, manager: str) -> None:
    made, secret = await created(plane, manager, types=["key.revoked", "invoice.paid"], description="books")
    path = f"/webhooks/{made['id']}"

    assert secret.startswith("whsec-")
    assert made | {"id": ""} == {
        "id": "", "url": URL, "types": ["key.revoked", "invoice.paid"], "description": "books", "disabled": False,
        "disabled_because": None, "failing_since": None, "previous_secret_until": None,
        "created_at": "2026-11-22T12:00:00Z",
    }  # fmt: skip
    assert await data(plane, "GET", path, manager) == made
    assert await data(plane, "GET", "/webhooks", manager) == [made]
    changed = await data(plane, "PATCH", path, manager, json={"types": None, "disabled": True, "url": URL + "2"})
    assert changed == made | {"types": None, "disabled": True, "disabled_because": "asked", "url": URL + "2"}
    assert await data(plane, "PATCH", path, manager, json={"disabled": False}) == changed | {
        "disabled": False,
        "disabled_because": None,
    }
    rotated = (await plane.call("POST", f"{path}/rotate", key=manager)).json()
    assert rotated["secret"].startswith("whsec-")
    assert rotated["secret"] != secret
    assert rotated["data"]["previous_secret_until"] == "2026-11-23T12:00:00Z"
    await data(plane, "DELETE", path, manager)
    assert (await plane.call("GET", path, key=manager)).status_code == 404
    assert await data(plane, "GET", "/webhooks", manager) == []


async def test_no_secret_is_stored_as_it_is(plane: ControlPlane, manager: str) -> None:
    _, secret = await created(plane, manager)
    rows = await plane.pool.fetch("SELECT secret FROM webhooks")
    assert not any(secret.encode()[6:] in row["secret"] for row in rows)
    answers = [(await plane.call("GET", path, key=manager)).text for path in ("/webhooks", "/events")]
    assert not any("whsec" in answer for answer in answers)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://user:pass@example.com/"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"url": 5}, "url"),
        ({"url": URL, "types": []}, "types"),
        ({"url": URL, "types": ["invoice.eaten"]}, "types[0]"),
        ({"url": URL, "description": "a" * 501}, "description"),
        ({"url": URL, "secret": "whsec-mine"}, "secret"),
        ({}, "url"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(
    plane: ControlPlane, manager: str, body: dict[str, Any], field: str
) -> None:
    made, _ = await created(plane, manager)
    answers = [await plane.call("POST", "/webhooks", key=manager, json=body)]
    if body:
        answers.append(await plane.call("PATCH", f"/webhooks/{made['id']}", key=manager, json=body))
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["metadata"]["field"] == field


async def test_twenty_are_enough(plane: ControlPlane, manager: str) -> None:
    for _ in range(20):
        await created(plane, manager)
    answer = await plane.call("POST", "/webhooks", key=manager, json={"url": URL})
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "conflict")


async def test_a_test_is_an_event_for_one_endpoint_alone(plane: ControlPlane, manager: str) -> None:
    mine, _ = await created(plane, manager, types=["invoice.paid"])
    other, _ = await created(plane, manager)

    delivery = await data(plane, "POST", f"/webhooks/{mine['id']}/test", manager)

    assert {name: delivery[name] for name in ("webhook", "type", "status", "attempts", "last")} == {
        "webhook": mine["id"], "type": "webhook.test", "status": "pending", "attempts": 0, "last": None,
    }  # fmt: skip
    assert await data(plane, "GET", f"/webhooks/{mine['id']}/deliveries", manager) == [delivery]
    assert await data(plane, "GET", f"/webhooks/{other['id']}/deliveries", manager) == []
    await data(plane, "PATCH", f"/webhooks/{mine['id']}", manager, json={"disabled": True})
    for path in ("test", "replay", f"deliveries/{delivery['id']}/replay"):
        body = {"json": {"since": "2026-11-01T00:00:00Z"}} if path == "replay" else {}
        answer = await plane.call("POST", f"/webhooks/{mine['id']}/{path}", key=manager, **body)
        assert answer.status_code == 409, answer.text


class TestKeys:
    """What is told of keys, as a whole journey of events."""

    async def test_the_end_of_a_key_is_told_each_time_it_comes(self, plane: ControlPlane, manager: str) -> None:
        hook, _ = await created(plane, manager, types=["key.revoked"])
        made = await data(plane, "POST", "/keys", manager, json={"name": "mine"})
        path = f"/keys/{made['id']}"
        for changes in ({"disabled": True}, {"disabled": True}, {"disabled": False}, {"disabled": True}):
            await data(plane, "PATCH", path, manager, json=changes)
        label = (await data(plane, "POST", f"{path}/rotate", manager))["label"]
        for _ in range(2):
            await data(plane, "DELETE", path, manager)

        events = await data(plane, "GET", "/events", manager, params={"type": "key.revoked"})
        assert [each["data"]["reason"] for each in events] == ["revoked", "rotated", "disabled", "disabled"]
        assert events[0]["data"] == {
            "key": made["id"], "name": "mine", "label": label, "project": None, "reason": "revoked",
        }  # fmt: skip
        assert events[1]["data"]["label"] == made["label"]  # of the text that opens nothing any more
        deliveries = await data(plane, "GET", f"/webhooks/{hook['id']}/deliveries", manager)
        assert [each["event"] for each in deliveries] == [each["id"] for each in events]

        listed = f"/webhooks/{hook['id']}/deliveries"
        first = (await plane.call("GET", listed, key=manager, params={"limit": 3})).json()
        rest = (await plane.call("GET", listed, key=manager, params={"limit": 3, "cursor": first["next"]})).json()
        assert first["data"] + rest["data"] == deliveries
        pending = await data(plane, "GET", listed, manager, params={"status": "delivered,failed"})
        assert pending == []
        first = (await plane.call("GET", "/events", key=manager, params={"limit": 3})).json()
        rest = (await plane.call("GET", "/events", key=manager, params={"limit": 3, "cursor": first["next"]})).json()
        assert first["data"] + rest["data"] == events

    async def test_replaying_sends_what_was_told_before_the_endpoint_was_there(
        self, plane: ControlPlane, manager: str
    ) -> None:
        made = await data(plane, "POST", "/keys", manager, json={"name": "mine"})
        await data(plane, "DELETE", f"/keys/{made['id']}", manager)
        hook, _ = await created(plane, manager, types=["key.revoked"])
        path = f"/webhooks/{hook['id']}"
        for since, count in (("2100-01-01T00:00:00Z", 0), ("2026-11-01T00:00:00Z", 1), ("2026-11-01T00:00:00Z", 0)):
            assert await data(plane, "POST", f"{path}/replay", manager, json={"since": since}) == {"replayed": count}

        [delivery] = await data(plane, "GET", f"{path}/deliveries", manager)
        again = await data(plane, "POST", f"{path}/deliveries/{delivery['id']}/replay", manager)
        assert again == delivery

    async def test_nobody_is_told_of_the_installations_own(self, plane: ControlPlane) -> None:
        before = await plane.pool.fetchval("SELECT count(*) FROM events")
        assert (await plane.call("GET", "/keys", key=plane.operator_key)).status_code == 403
        assert await plane.pool.fetchval("SELECT count(*) FROM events") == before


async def test_the_organization_says_when_its_credits_are_low(plane: ControlPlane, manager: str) -> None:
    assert (await data(plane, "GET", "/limits", manager))["credits_alert"] is None
    changed = await data(plane, "PATCH", "/limits", manager, json={"credits_alert": "5.50"})
    assert changed["credits_alert"] == "5.5"
    assert (await data(plane, "PATCH", "/limits", manager, json={"rpm": 5}))["credits_alert"] == "5.5"
    assert (await data(plane, "PATCH", "/limits", manager, json={"credits_alert": None}))["credits_alert"] is None
    for body in ({"credits_alert": "-1"}, {"credits_alert": 5}):
        answer = await plane.call("PATCH", "/limits", key=manager, json=body)
        assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (400, "credits_alert")
    answer = await plane.call("POST", "/projects", key=manager, json={"name": "a", "limits": {"credits_alert": "1"}})
    assert answer.status_code == 400


async def test_two_tenants_neither_see_nor_move_each_others(plane: ControlPlane) -> None:
    owner, stranger = await plane.a_manager(), await plane.a_manager()
    hook, _ = await created(plane, owner)
    delivery = await data(plane, "POST", f"/webhooks/{hook['id']}/test", owner)
    theirs, _ = await created(plane, stranger)
    before = [await data(plane, "GET", path, owner) for path in ("/webhooks", "/events")]
    path = f"/webhooks/{hook['id']}"

    for method, place, body in (
        ("GET", path, None),
        ("PATCH", path, {"disabled": True}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", None),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/replay", {"since": "2026-11-01T00:00:00Z"}),
        ("GET", f"{path}/deliveries", None),
        ("POST", f"{path}/deliveries/{delivery['id']}/replay", None),
        ("POST", f"/webhooks/{theirs['id']}/deliveries/{delivery['id']}/replay", None),
    ):
        answer = await plane.call(method, place, key=stranger, **({} if body is None else {"json": body}))
        assert answer.status_code == 404, (method, place, answer.text)
    assert await data(plane, "GET", "/webhooks", stranger) == [theirs]
    assert await data(plane, "GET", "/events", stranger) == []
    assert [await data(plane, "GET", path, owner) for path in ("/webhooks", "/events")] == before


async def test_a_host_with_another_key_makes_no_secrets(plane: ControlPlane, tmp_path: Path) -> None:
    manager = await plane.a_manager()
    made, _ = await created(plane, manager)
    other = Seal(replace(Settings("postgresql://nowhere/none"), data_dir=tmp_path))
    ours = await plane.pool.fetchval(
        "UPDATE webhook_seal SET fingerprint = $1 RETURNING fingerprint", other.fingerprint
    )
    assert ours == other.fingerprint
    try:
        for path, body in (("/webhooks", {"json": {"url": URL}}), (f"/webhooks/{made['id']}/rotate", {})):
            answer = await plane.call("POST", path, key=manager, **body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded"), answer.text
            assert "TOLLGATE_SEALING_KEY" in answer.json()["error"]["message"]
    finally:
        await plane.pool.execute("DELETE FROM webhook_seal")  # the next to need one writes its own


def test_every_type_is_a_word_of_a_thing_and_what_became_of_it() -> None:
    assert all(len(kind.value.split(".")) == 2 for kind in EventType)
