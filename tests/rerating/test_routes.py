"""The routes of re-rates, as docs/rerating.md tells it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.control_plane import ControlPlane, control_plane, shared_control_plane
from tests.invoices.builders import BORN, NOVEMBER, at
from tests.pricing.builders import priced_endpoint
from tests.rerating.scene import EXAMPLE, GUIDE, NOBODY, SEARCH, Past

from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import typed
from tollgate.kit.tokens import Kind
from tollgate.rerating import tasks

OLD = [
    {"kind": "prompt", "price": "0.4", "unit": "per_million_tokens"},
    {"kind": "completion", "price": "1.6", "unit": "per_million_tokens"},
]


@pytest.fixture
async def plane(past: Past, database_url: str) -> AsyncIterator[ControlPlane]:
    books, clock = past.books, FixedClock(past.clock.now())
    async with control_plane(books.database, books.pool, clock, database_url=database_url) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "rerating") as opened:
        await priced_endpoint(opened.database, BORN)
        yield opened


async def posted(plane: ControlPlane, path: str, body: Any = None) -> Any:
    answer = await plane.call("POST", path, json=body)
    assert answer.status_code == 202, answer.text
    await tasks.go_on_for_a_while(plane.database, plane.clock, answer.json()["data"]["id"])
    return await told(plane, f"/admin/rerate/{answer.json()['data']['id']}")


async def told(plane: ControlPlane, path: str) -> Any:
    answer = await plane.call("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_the_guides_example_comes_out_as_it_says(past: Past, plane: ControlPlane) -> None:
    acme = await past.books.an_organization()
    await past.books.record(acme, past.call(at(11, 5), {Kind.PROMPT: 1_000_000}))
    issued = await past.books.close(acme, NOVEMBER, now=past.clock.now())

    measured = await posted(plane, "/admin/rerate", EXAMPLE)

    figures = (measured["state"], measured["amount"], measured["new_amount"], measured["difference"])
    assert figures == ("measured", "0.4", "0.2", "-0.2")
    assert "publish what calls are to cost from now on" in measured["warnings"][0]
    (result,) = await told(plane, f"/admin/rerate/{measured['id']}/organizations")
    assert result["organization"] == typed("org", acme.id)
    assert [(month["month"], month["invoice"]) for month in result["months"]] == [("2026-11", issued.heading.number)]

    applied = await posted(plane, f"/admin/rerate/{measured['id']}/apply")

    assert (applied["state"], applied["progress"]) == ("applied", {"organizations": 1, "measured": 1, "posted": 1})
    (adjustment,) = await told(plane, f"/admin/organizations/{typed('org', acme.id)}/adjustments")
    assert adjustment["amount"] == "0.2"
    assert adjustment["reason"] == "list price of November (openai/gpt-4.1-mini at openai, 2026-11)"
    assert adjustment["reason"] in GUIDE
    again = await posted(plane, "/admin/rerate", EXAMPLE)
    back = await posted(plane, "/admin/rerate", {**EXAMPLE, "items": OLD})
    assert (again["difference"], back["difference"]) == ("0", "0.2")
    listed = await told(plane, "/admin/rerate")
    assert {each["id"] for each in listed} == {measured["id"], again["id"], back["id"]}


async def test_a_resolved_call_says_by_which_re_rate(past: Past, plane: ControlPlane) -> None:
    organization = await past.books.an_organization()
    (call_id,) = await past.books.record(organization, past.call(at(11, 5), SEARCH))
    manager = await plane.a_key(typed("org", organization.id))
    search = {"kind": "web_search", "price": "0.01", "unit": "per_count"}

    measured = await posted(plane, "/admin/rerate", {**EXAMPLE, "items": [*EXAMPLE["items"], search]})
    await posted(plane, f"/admin/rerate/{measured['id']}/apply")

    found = (await plane.call("GET", "/calls?status=unpriced", key=manager)).json()["data"]
    assert [(each["id"], each["resolved_by"]) for each in found] == [(typed("gen", call_id), measured["id"])]
    assert (await told(plane, "/admin/status"))["unpriced"] == {"calls": 0, "oldest_at": None}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from": "2026-11-02T00:00:00"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"to": "2026-10-31T00:00:00Z"}, "to"),
        ({"to": "2999-10-31T00:00:00Z"}, "to"),
        ({"to": "9999-10-31T00:00:00Z"}, "to"),
        ({"model": "nobody/nothing"}, "model"),
        ({"provider": "nobody"}, "provider"),
        ({"organization": "acme"}, "organization"),
        ({"items": []}, "items"),
        ({"items": [{"kind": "prompt", "price": 1, "unit": "per_million_tokens"}]}, "items[0].price"),
        ({"items": [{"kind": "prompt", "price": "1", "unit": "per_count"}]}, "items[0].unit"),
        ({"service_tier": "No Tier"}, "service_tier"),
        ({"reason": ""}, "reason"),
        ({"apply": True}, "apply"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(shared: ControlPlane, change: dict[str, Any], field: str) -> None:
    past = {"to": "2026-11-08T00:00:00Z"}  # the clock of these tests is of that month
    answer = await shared.call("POST", "/admin/rerate", json={**EXAMPLE, **past, **change})

    assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (400, field)


@pytest.mark.parametrize("path", ["", "/organizations", "/apply"])
async def test_what_is_not_there_is_not_found(shared: ControlPlane, path: str) -> None:
    method = "POST" if path == "/apply" else "GET"

    answers = [await shared.call(method, f"/admin/rerate/{name}{path}") for name in (NOBODY, "rerate_x", "inv_1")]

    assert {answer.status_code for answer in answers} == {404}
