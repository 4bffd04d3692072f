"""Operators publish discounts and markups through the API, list them, and let them end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.control_plane import ControlPlane, shared_control_plane

PATH = "/admin/price-adjustments"


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "price_adjustments") as opened:
        for path, body in (
            ("models", {"slug": "acme/model", "name": "A model"}),
            ("providers", {"slug": "acme", "name": "Acme", "format": "sandbox"}),
        ):
            answer = await opened.call("POST", f"/admin/{path}", json=body)
            assert answer.status_code == 201, answer.text
        yield opened


async def data(plane: ControlPlane, method: str, path: str, status: int, **rest: Any) -> Any:
    answer = await plane.call(method, path, **rest)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


async def test_an_adjustment_is_published_superseded_and_ended(plane: ControlPlane) -> None:
    customer = await plane.an_organization()
    scope = {"organization": customer, "model": "acme/model", "provider": "acme"}

    first = await data(plane, "POST", PATH, 201, json={"percent": "-12.50", **scope})
    later = await data(
        plane, "POST", PATH, 201, json={"percent": "0", "effective_from": "2026-12-01T00:00:00Z", **scope}
    )

    assert first == {
        "id": first["id"], **scope, "percent": "-12.5", "effective_from": "2026-11-22T12:00:00Z", "effective_to": None,
        "published_at": "2026-11-22T12:00:00Z", "published_by": first["published_by"],
        "withdrawn_at": None,
    }  # fmt: skip
    assert (first["id"].partition("_")[0], first["published_by"].partition("_")[0]) == ("padj", "key")
    ended = await data(
        plane, "POST", f"{PATH}/{later['id']}/end", 200, json={"effective_to": "2026-12-24T00:00:00+01:00"}
    )
    assert ended == later | {"effective_to": "2026-12-23T23:00:00Z"}
    listed = await data(plane, "GET", PATH, 200, params={"organization": customer})
    assert listed == [ended, first | {"effective_to": later["effective_from"]}]
    answer = await plane.call("POST", f"{PATH}/{later['id']}/end", json={})
    assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (409, "effective_to")


async def test_the_list_is_filtered_by_scope_and_paged(plane: ControlPlane) -> None:
    customer = await plane.an_organization()
    made = [
        await data(plane, "POST", PATH, 201, json={"percent": str(number), "organization": customer, **scope})
        for number, scope in enumerate(({}, {"model": "acme/model"}, {"provider": "acme"}))
    ]

    first = (await plane.call("GET", PATH, params={"organization": customer, "limit": 2})).json()
    rest = (await plane.call("GET", PATH, params={"organization": customer, "cursor": first["next"]})).json()
    of_model = await data(plane, "GET", PATH, 200, params={"organization": customer, "model": "acme/model"})

    made.sort(key=lambda each: str(each["id"]))
    assert [*first["data"], *rest["data"]] == made[::-1]
    assert rest["next"] is None
    assert [(each["model"], each["percent"]) for each in of_model] == [("acme/model", "1")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "percent"),
        ({"percent": -10}, "percent"),
        ({"percent": "ten"}, "percent"),
        ({"percent": "1e2"}, "percent"),
        ({"percent": "-101"}, "percent"),
        ({"percent": "5", "organization": "org_1"}, "organization"),
        ({"percent": "5", "organization": "org_00000000-0000-7000-8000-000000000009"}, "organization"),
        ({"percent": "5", "organization": "org_00000000-0000-0000-0000-000000000000"}, "organization"),
        ({"percent": "5", "model": "acme/nothing"}, "model"),
        ({"percent": "5", "model": ""}, "model"),
        ({"percent": "5", "provider": "nobody"}, "provider"),
        ({"percent": "5", "effective_from": "2026-11-22T11:59:59Z"}, "effective_from"),
        ({"percent": "5", "effective_from": "2027-01-01T00:00:00"}, "effective_from"),
        ({"percent": "5", "reason": "because"}, "reason"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(plane: ControlPlane, body: dict[str, Any], field: str) -> None:
    answer = await plane.call("POST", PATH, json=body)

    assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (400, field), answer.text


async def test_only_operators_come_in(plane: ControlPlane) -> None:
    manager = await plane.a_manager()

    for method, path, rest in (
        ("GET", PATH, {}),
        ("POST", PATH, {"json": {"percent": "-100"}}),
        ("POST", f"{PATH}/padj_00000000-0000-7000-8000-000000000009/end", {"json": {}}),
        ("DELETE", f"{PATH}/padj_00000000-0000-7000-8000-000000000009", {}),
    ):
        assert (await plane.call(method, path, key=manager, **rest)).status_code == 403


@pytest.mark.parametrize("wanted", ["padj_00000000-0000-7000-8000-000000000009", "padj_9", "key_9"])
async def test_what_is_not_there_does_not_end(plane: ControlPlane, wanted: str) -> None:
    assert (await plane.call("POST", f"{PATH}/{wanted}/end", json={})).status_code == 404
