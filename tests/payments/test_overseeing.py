"""What the operator sees of payments over HTTP and by command, and decides about them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner
from tests.control_plane import ControlPlane, shared_control_plane
from tests.invoices.builders import AFTER, Books
from tests.payments.builders import Desk
from tests.payments.stripe_double import SECRET_KEY, StripeDouble

from tollgate.entrypoints.cli_payments import payments
from tollgate.kit.ids import typed
from tollgate.payments.stripe_client import StripeClient


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    configured = {"stripe_secret_key": SECRET_KEY, "stripe_api_base": "http://127.0.0.1:9"}
    async with shared_control_plane(server_url, template, "overseeing", configured=configured) as opened:
        yield opened


@pytest.fixture
def office(plane: ControlPlane, double: StripeDouble, door: StripeClient) -> Desk:
    return Desk(Books(plane.database, plane.pool), double, door)


async def test_an_invoice_is_asked_for_refunded_and_seen(plane: ControlPlane, office: Desk) -> None:
    heading = await office.invoiced(method=None)
    invoice = f"/admin/invoices/{typed('inv', heading.id)}"

    seen = await plane.call("GET", f"{invoice}/collection")
    asked = await plane.call("POST", f"{invoice}/collect")
    listed = await plane.call("GET", "/admin/payments/collections?state=open&limit=1")
    status = await plane.call("GET", "/admin/payments/status")
    refused = await plane.call("POST", f"{invoice}/refund", json={})
    refunds = await plane.call("GET", f"{invoice}/refunds")

    assert seen.json()["data"]["state"] == "open"
    assert asked.json()["data"]["invoice"] == typed("inv", heading.id)
    assert asked.json()["data"]["next_at"] == asked.json()["data"]["updated_at"]
    assert [row["invoice"] for row in listed.json()["data"]] == [typed("inv", heading.id)]
    assert status.json()["data"]["stripe"] is True
    assert status.json()["data"]["collections"]["open"] == 1
    assert (refused.status_code, refunds.json()["data"]) == (409, [])
    assert "credit note" in refused.json()["error"]["message"]


async def test_what_comes_of_a_top_up_is_named_as_everywhere(plane: ControlPlane, office: Desk) -> None:
    office.double.begin_anew(AFTER)
    heading = await office.topped_up("20", spent="5")
    owner = typed("org", heading.organization_id)
    charge = office.double.every("charge")[0]["id"]

    await office.refund_at_stripe(heading, 500)
    office.double.dispute(charge, 1500)
    await office.hear()
    [disputed] = (await plane.call("GET", "/admin/payments/disputes")).json()["data"]
    [top_up] = (await plane.call("GET", f"/admin/organizations/{owner}/top-ups")).json()["data"]
    moved = await plane.call("GET", "/credits/transactions?cause=refund", key=await plane.a_key(owner))

    assert disputed["top_up"] == top_up["id"]
    assert {each["cause_id"].partition("_")[0] for each in moved.json()["data"]} == {"re"}


async def test_how_an_organization_is_collected_from_is_set_and_read(plane: ControlPlane) -> None:
    path = f"/admin/organizations/{await plane.an_organization()}/collection"

    before = await plane.call("GET", path)
    changed = await plane.call("PUT", path, json={"mode": "send"})
    odd = await plane.call("PUT", path, json={"mode": "by pigeon"})

    assert before.json()["data"] == {"mode": None, "suspended_at": None}
    assert changed.json()["data"]["mode"] == "send"
    assert (odd.status_code, odd.json()["error"]["metadata"]["field"]) == (400, "mode")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/collect", None, 404, None),
        ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/refund", {}, 404, None),
        ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/refund", {"amount": "-1"}, 400, "amount"),
        ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/refund", {"amount": 1}, 400, "amount"),
        ("GET", "/admin/invoices/nonsense/collection", None, 404, None),
        ("GET", "/admin/payments/collections?state=lost", None, 400, "state"),
        ("GET", "/admin/payments/disputes?cursor=%25", None, 400, "cursor"),
        ("PUT", "/admin/organizations/org_01890000-0000-7000-8000-000000000000/collection", {"mode": None}, 404, None),
        ("GET", "/admin/payments/reconciliation", None, 404, None),
    ],
)
async def test_what_cannot_be_is_refused_with_the_field(
    plane: ControlPlane, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    answer = await plane.call(method, path, json=body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"].get("metadata", {}).get("field") == field


@pytest.mark.parametrize("path", ["/admin/payments/status", "/admin/payments/collections", "/admin/payments/disputes"])
async def test_a_tenant_sees_none_of_it(plane: ControlPlane, path: str) -> None:
    answer = await plane.call("GET", path, key=await plane.a_manager())

    assert answer.status_code == 403


async def run(desk: Desk, database_url: str, word: str) -> Any:
    """What `tollgate payments` answers, in a thread of its own: it brings its own event loop."""
    environment = {
        "TOLLGATE_DATABASE_URL": database_url,
        "TOLLGATE_STRIPE_SECRET_KEY": SECRET_KEY,
        "TOLLGATE_STRIPE_API_BASE": desk.double.url,
    }
    found = await asyncio.to_thread(CliRunner().invoke, payments, [word, "--json"], env=environment)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


async def test_the_commands_collect_compare_and_tell(desk: Desk, database_url: str) -> None:
    heading = await desk.invoiced()

    collected, compared, told = [await run(desk, database_url, word) for word in ("collect", "reconcile", "status")]

    assert [(row["invoice"], row["state"]) for row in collected["collections"]] == [(typed("inv", heading.id), "done")]
    assert compared["differences"] == []
    assert (told["stripe"], told["collections"]["done"], told["differences"]) == (True, 1, 0)
