"""Invoices over HTTP: what an organization sees, what the operator does, and what is refused."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.control_plane import ControlPlane, control_plane, shared_control_plane
from tests.invoices.builders import Books, Used, at

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.infra import web
from tollgate.invoices import routes
from tollgate.kit import ids
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import OrganizationId
from tollgate.kit.tokens import Kind


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    """One for all: each test has an organization of its own."""
    async with shared_control_plane(server_url, template, "invoices", more=routes.HANDLERS) as opened:
        yield opened


async def a_customer(plane: ControlPlane) -> Organization:
    """A postpaid organization with two calls in November, together 1.60082 USD."""
    text = await plane.an_organization(billing_mode="postpaid", credit_limit="100")
    async with plane.database.read() as session:
        organization = await accounts.get_organization(session, OrganizationId(ids.parse("org", text)))
    used = (Used(at(11, 22)), Used(at(11, 22), {Kind.COMPLETION: 1_000_000}))
    await Books(plane.database, plane.pool).record(organization, *used)
    return organization


@pytest.fixture
async def acme(plane: ControlPlane) -> Organization:
    return await a_customer(plane)


@pytest.fixture
async def manager(plane: ControlPlane, acme: Organization) -> str:
    """A management key of the organization."""
    return await plane.a_key(ids.typed("org", acme.id))


async def data(plane: ControlPlane, method: str, path: str, **rest: Any) -> Any:
    answer = await plane.call(method, path, **rest)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def close_path(organization: Organization) -> str:
    return f"/admin/organizations/{ids.typed('org', organization.id)}/invoices"


async def test_the_running_month_is_a_draft(plane: ControlPlane, manager: str, acme: Organization) -> None:
    invoice = await data(plane, "GET", "/invoices/current", key=manager)

    assert invoice.pop("id").startswith("inv_")
    assert invoice.pop("lines")[2] == {
        "n": 3,
        "type": "usage",
        "description": "openai/gpt-4.1-mini: completion tokens",
        "project": None,
        "model": "openai/gpt-4.1-mini",
        "kind": "completion",
        "tier": {"gte": 0},
        "price_version": "price_00000000-0000-0000-0000-000000000002",
        "quantity": 1_000_300,
        "unit": "per_million_tokens",
        "unit_price": "1.6",
        "origin": None,
        "amount": "1.60",
        "amount_exact": "1.60048",
        "late": False,
    }
    assert invoice == {
        "number": None,
        "status": "draft",
        "kind": "usage",
        "organization": {"id": ids.typed("org", acme.id), "name": "Acme", "billing_mode": "postpaid"},
        "currency": "USD",
        "period": {
            "month": "2026-11",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "timezone": "UTC",
        },
        "cut": 0,
        "issued_at": None,
        "due_at": None,
        "payment": {"term_days": 14, "instructions": None},
        "unpriced": [],
        "subtotal_exact": "1.60082",
        "credits_exact": "0",
        "total_exact": "1.60082",
        "subtotal": "1.60",
        "credits": "0.00",
        "total": "1.60",
        "rounding": "-0.00082",
        "amount_due": "1.60",
    }


async def test_the_operator_finalises_a_draft(books: Books, clock: FixedClock, database_url: str) -> None:
    async with control_plane(books.database, books.pool, clock, database_url=database_url) as plane:
        manager = await plane.a_key(ids.typed("org", (await a_customer(plane)).id))
        drafted = await data(plane, "GET", "/invoices/current", key=manager)

        issued = await data(plane, "POST", f"/admin/invoices/{drafted['id']}/finalise")

        assert (issued["id"], issued["number"], issued["status"]) == (drafted["id"], "TG-2026-000001", "finalised")
        assert issued["due_at"] == "2026-12-06T12:00:00Z"
        assert await data(plane, "POST", f"/admin/invoices/{drafted['id']}/finalise") == issued
        assert await data(plane, "GET", f"/admin/invoices/{drafted['id']}") == issued
        assert await data(plane, "GET", f"/invoices/{drafted['id']}", key=manager) == issued
        assert (await data(plane, "GET", "/invoices/current", key=manager))["period"]["month"] == "2026-12"


async def test_the_operator_closes_a_month_by_name(plane: ControlPlane, manager: str, acme: Organization) -> None:
    issued = await data(plane, "POST", close_path(acme), json={"month": "2026-11"})

    assert await data(plane, "POST", close_path(acme), json={"month": "2026-11"}) == issued
    assert await data(plane, "GET", "/invoices", key=manager) == [
        {
            name: issued[name]
            for name in (
                "id",
                "number",
                "status",
                "kind",
                "currency",
                "period",
                "issued_at",
                "due_at",
                "total",
                "amount_due",
            )
        }
    ]


async def test_every_line_explains_itself_page_by_page(plane: ControlPlane, manager: str, acme: Organization) -> None:
    issued = await data(plane, "POST", close_path(acme), json={"month": "2026-11"})

    for line in issued["lines"]:
        first = f"/invoices/{issued['id']}/lines/{line['n']}/calls?limit=1"
        calls = []
        path: str | None = first
        while path is not None:
            page = (await plane.call("GET", path, key=manager)).json()
            calls += page["data"]
            path = f"{first}&cursor={page['next']}" if page["next"] else None
        assert sum(Decimal(call["amount"]) for call in calls) == Decimal(line["amount_exact"])
        assert sum(call["quantity"] for call in calls) == line["quantity"]
        assert {(call["kind"], call["unit_price"]) for call in calls} == {(line["kind"], line["unit_price"])}
        assert all(call["id"].startswith("gen_") for call in calls)


@pytest.mark.parametrize("last", [UUID(int=2**128 - 1), UUID(int=0)])
async def test_a_cursor_of_a_time_that_no_calendar_has_leads_nowhere(
    plane: ControlPlane, manager: str, acme: Organization, last: UUID
) -> None:
    issued = await data(plane, "POST", close_path(acme), json={"month": "2026-11"})
    path = f"/invoices/{issued['id']}/lines/1/calls?limit=1&cursor={web.cursor(last)}"
    page = await plane.call("GET", path, key=manager)
    assert (page.status_code, page.json()["data"] == []) == (200, last.int > 0)


async def test_an_invoice_is_a_file_that_stays_the_same(plane: ControlPlane, manager: str, acme: Organization) -> None:
    draft = await plane.call("GET", "/invoices/current/pdf", key=manager)
    issued = await data(plane, "POST", close_path(acme), json={"month": "2026-11"})
    file = await plane.call("GET", f"/invoices/{issued['id']}/pdf", key=manager)
    await data(plane, "POST", f"/admin/invoices/{issued['id']}/mark-paid", json={})
    again = await plane.call("GET", f"/admin/invoices/{issued['id']}/pdf")

    assert draft.headers["content-disposition"] == 'attachment; filename="draft-2026-11.pdf"'
    assert (file.status_code, file.headers["content-type"]) == (200, "application/pdf")
    assert file.headers["content-disposition"] == f'attachment; filename="{issued["number"]}.pdf"'
    assert again.content == file.content
    assert file.content.startswith(b"%PDF-")


async def test_another_organization_sees_nothing(plane: ControlPlane, manager: str, acme: Organization) -> None:
    drafted = await data(plane, "GET", "/invoices/current", key=manager)
    stranger = await plane.a_manager("Stranger")

    for invoice in (drafted, await data(plane, "POST", close_path(acme), json={"month": "2026-11"})):
        for rest in ("", "/lines/1/calls", "/pdf"):
            path = f"/invoices/{invoice['id']}{rest}"
            assert (await plane.call("GET", path, key=stranger)).status_code == 404
    assert (await plane.call("GET", "/invoices", key=stranger)).json() == {"data": [], "next": None}


async def test_the_operator_lists_what_an_organization_lists(
    plane: ControlPlane, manager: str, acme: Organization
) -> None:
    issued = await data(plane, "POST", close_path(acme), json={"month": "2026-11"})
    nobody = "/admin/organizations/org_00000000-0000-0000-0000-000000000001/invoices"

    listed = await plane.call("GET", f"{close_path(acme)}?limit=1")

    assert listed.json() == (await plane.call("GET", "/invoices", key=manager)).json()
    assert [each["number"] for each in listed.json()["data"]] == [issued["number"]]
    assert (await plane.call("GET", nobody)).status_code == 404


async def test_only_the_operator_acts(plane: ControlPlane, manager: str, acme: Organization) -> None:
    drafted = await data(plane, "GET", "/invoices/current", key=manager)

    for method, path, body in [
        ("POST", close_path(acme), {"month": "2026-11"}),
        ("GET", close_path(acme), None),
        ("POST", f"/admin/invoices/{drafted['id']}/finalise", None),
        ("GET", f"/admin/invoices/{drafted['id']}", None),
        ("GET", f"/admin/invoices/{drafted['id']}/pdf", None),
    ]:
        assert (await plane.call(method, path, key=manager, json=body)).status_code == 403


async def test_a_month_that_cannot_be_closed_is_refused_with_the_reason(
    plane: ControlPlane, acme: Organization
) -> None:
    refusals = [
        ({}, 400, "month"),
        ({"month": "2026-13"}, 400, "month"),
        ({"month": 202611}, 400, "month"),
        ({"month": "2026-11", "force": True}, 400, "force"),
        ({"month": "2026-12"}, 409, "month"),
        ({"month": "2026-10"}, 409, "month"),
    ]
    for body, status, field in refusals:
        answer = await plane.call("POST", close_path(acme), json=body)

        assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (status, field), body


async def test_a_bad_address_is_refused(plane: ControlPlane, manager: str) -> None:
    refusals = [
        ("/invoices/nonsense", 404),
        ("/invoices/nonsense/pdf", 404),
        ("/invoices/inv_00000000-0000-0000-0000-000000000000/pdf?colour=red", 400),
        ("/invoices/inv_ffffffff-ffff-ffff-ffff-ffffffffffff", 404),
        ("/invoices/inv_00000000-0000-0000-0000-000000000000/lines/1/calls", 404),
        ("/invoices?cursor=%00", 400),
        ("/invoices?limit=0", 400),
        ("/invoices?limit=1001", 400),
        ("/invoices?colour=red", 400),
    ]
    for path, status in refusals:
        assert (await plane.call("GET", path, key=manager)).status_code == status, path


async def test_the_operator_finds_nothing_at_a_bad_address(plane: ControlPlane) -> None:
    for name in ("inv_ffffffff-ffff-ffff-ffff-ffffffffffff", "inv_00000000-0000-0000-0000-000000000000", "x"):
        assert (await plane.call("GET", f"/admin/invoices/{name}")).status_code == 404
        assert (await plane.call("GET", f"/admin/invoices/{name}/pdf")).status_code == 404
        assert (await plane.call("POST", f"/admin/invoices/{name}/finalise")).status_code == 404
