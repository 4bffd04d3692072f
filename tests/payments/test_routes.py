"""Payments over HTTP: top-ups, what is stored, Stripe's webhooks; and without keys a reason."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import Response
from tests.conftest import NOON
from tests.control_plane import ControlPlane, shared_control_plane
from tests.payments.shop import PAGES, act_on_events
from tests.payments.stripe_double import SECRET_KEY, WEBHOOK_SECRET, Kind, StripeDouble, a_stripe, sign

from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient

ASKED = {"amount": "25", **PAGES}


@pytest.fixture(scope="module")
async def stripe_double() -> AsyncIterator[StripeDouble]:
    async with a_stripe(NOON) as double:
        yield double


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str, stripe_double: StripeDouble) -> AsyncIterator[ControlPlane]:
    configured = {
        "stripe_secret_key": SECRET_KEY,
        "stripe_webhook_secrets": f"whsec_old,{WEBHOOK_SECRET}",
        "stripe_api_base": stripe_double.url,
    }
    async with shared_control_plane(server_url, template, "payments", configured=configured) as opened:
        yield opened


@pytest.fixture
async def manager(plane: ControlPlane) -> str:
    return await plane.a_manager()


async def hear(plane: ControlPlane, double: StripeDouble) -> None:
    """Stripe calls, and the worker does what is due."""

    async def receive(payload: bytes, signature: str) -> int:
        return (await webhook(plane, payload, signature)).status_code

    assert set(await double.deliver(receive)) <= {200}
    door = StripeClient(SECRET_KEY, base=double.url)
    await act_on_events(Surroundings(plane.database, door, plane.clock))
    await door.close()


async def webhook(plane: ControlPlane, payload: bytes, signature: str | None) -> Response:
    headers = {} if signature is None else {"Stripe-Signature": signature}
    return await plane.client.post("/webhooks/stripe", content=payload, headers=headers)


async def kept(plane: ControlPlane) -> int:
    return int(await plane.pool.fetchval("SELECT count(*) FROM stripe_events"))


async def test_credit_is_bought_on_a_page(plane: ControlPlane, stripe_double: StripeDouble, manager: str) -> None:
    answer = await plane.call("POST", "/credits/top-ups", key=manager, json=ASKED)
    asked = answer.json()["data"]
    page = stripe_double.every("checkout.session")[0]

    assert answer.status_code == 201
    assert (asked["status"], asked["url"], asked["total"], asked["grant"]) == ("open", page["url"], "25", None)
    stripe_double.complete(page["id"])
    await hear(plane, stripe_double)
    one = (await plane.call("GET", f"/credits/top-ups/{asked['id']}", key=manager)).json()["data"]
    funds = (await plane.call("GET", "/credits", key=manager)).json()["data"]
    grants = (await plane.call("GET", "/credits/grants", key=manager)).json()["data"]
    assert (one["status"], one["url"], one["grant"]) == ("paid", None, grants[0]["id"])
    assert funds["available"] == "25"
    assert (await plane.call("GET", "/credits/top-ups", key=manager)).json()["data"] == [one]
    transactions = (await plane.call("GET", "/credits/transactions", key=manager)).json()["data"]
    assert sorted(each["debit_account"] for each in transactions) == ["refundable", "stripe_clearing"]


async def test_a_write_with_a_key_happens_once_though_it_is_more_than_a_transaction(
    plane: ControlPlane, stripe_double: StripeDouble, manager: str
) -> None:
    stripe_double.faults.plan(Kind.LOST_AFTER, "POST /v1/checkout/sessions")
    headers = {"Idempotency-Key": "buy"}
    answers = [
        (await plane.call("POST", "/credits/top-ups", key=manager, json=ASKED, headers=headers)).json()["data"]
        for _ in range(3)
    ]

    assert [answer["status"] for answer in answers] == ["opening", "open", "open"]
    assert len({answer["id"] for answer in answers}) == 1
    other = await plane.call("POST", "/credits/top-ups", key=manager, json={**ASKED, "amount": "26"}, headers=headers)
    assert (other.status_code, other.json()["error"]["type"]) == (409, "idempotency_conflict")
    bad = await plane.call("POST", "/credits/top-ups", key=manager, json=ASKED, headers={"Idempotency-Key": "a" * 256})
    assert bad.status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**ASKED, "amount": 25}, "amount"),
        ({**ASKED, "amount": "-1"}, "amount"),
        ({**ASKED, "amount": "1000000"}, "amount"),
        ({**ASKED, "amount": "5.001"}, "amount"),
        ({**ASKED, "success_url": "http://shop.test"}, "success_url"),
        ({"amount": "5", "success_url": "https://shop.test"}, "cancel_url"),
        ({**ASKED, "colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    plane: ControlPlane, manager: str, body: dict[str, Any], field: str
) -> None:
    answer = await plane.call("POST", "/credits/top-ups", key=manager, json=body)

    assert (answer.status_code, answer.json()["error"]["metadata"]["field"]) == (400, field)


async def test_tenants_see_their_own(plane: ControlPlane, manager: str) -> None:
    mine = (await plane.call("POST", "/credits/top-ups", key=manager, json=ASKED)).json()["data"]["id"]
    organization = await plane.an_organization()
    other = await plane.a_key(organization)

    assert (await plane.call("GET", f"/credits/top-ups/{mine}", key=other)).status_code == 404
    assert (await plane.call("GET", "/credits/top-ups", key=other)).json()["data"] == []
    check = f"/admin/organizations/{organization}/top-ups"
    assert (await plane.call("POST", f"{check}/{mine}/check")).status_code == 404
    assert (await plane.call("GET", check)).json()["data"] == []
    for method, path in (("POST", "/credits/top-ups"), ("GET", "/payments/method")):
        inference = await plane.a_key(organization, "inference")
        assert (await plane.call(method, path, key=inference, json=ASKED)).status_code == 403
    assert (await plane.call("GET", "/credits/top-ups/tup_1", key=other)).status_code == 404


async def test_the_operator_has_a_top_up_looked_at_again(plane: ControlPlane, stripe_double: StripeDouble) -> None:
    organization = await plane.an_organization()
    manager = await plane.a_key(organization)
    mine = (await plane.call("POST", "/credits/top-ups", key=manager, json=ASKED)).json()["data"]["id"]
    stripe_double.complete(stripe_double.every("checkout.session")[0]["id"])

    checked = await plane.call("POST", f"/admin/organizations/{organization}/top-ups/{mine}/check")

    assert (checked.status_code, checked.json()["data"]["status"]) == (200, "paid")


async def test_what_to_pay_with_is_stored_and_shown(
    plane: ControlPlane, stripe_double: StripeDouble, manager: str
) -> None:
    before = await plane.call("GET", "/payments/method", key=manager)
    opened = await plane.call("POST", "/payments/set-up", key=manager, json=PAGES, headers={"Idempotency-Key": "s"})
    again = await plane.call("POST", "/payments/set-up", key=manager, json=PAGES, headers={"Idempotency-Key": "s"})
    stripe_double.complete(stripe_double.every("checkout.session")[0]["id"])
    await hear(plane, stripe_double)
    portal = await plane.call("POST", "/payments/portal", key=manager, json={"return_url": "http://localhost:3000"})

    assert (before.status_code, before.json()["data"]) == (200, None)
    assert opened.json() == again.json()
    assert (await plane.call("GET", "/payments/method", key=manager)).json()["data"] == {
        "type": "card", "brand": "visa", "last4": "4242", "expires": "2030-12",
    }  # fmt: skip
    assert portal.json()["data"]["url"].startswith("https://billing.stripe.test/")


async def test_a_stripe_that_is_away_is_told_as_such(
    plane: ControlPlane, stripe_double: StripeDouble, manager: str
) -> None:
    stripe_double.faults.plan(Kind.LOST, "POST /v1/customers")
    answer = await plane.call("POST", "/payments/set-up", key=manager, json=PAGES)

    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "provider_unavailable")


async def test_webhooks_are_only_kept_if_stripe_signed_them_just_now(
    plane: ControlPlane, stripe_double: StripeDouble
) -> None:
    event = {
        "id": "evt_routes", "object": "event", "type": "invoice.paid", "created": 1, "livemode": False,
        "data": {"object": {"id": "in_1"}},
    }  # fmt: skip
    payload, now, before = json.dumps(event).encode(), stripe_double.world.seconds, await kept(plane)
    live = json.dumps({**event, "livemode": True}).encode()
    forged = (None, "t=1,v1=00", sign(payload, now, "whsec_guess"), sign(payload, now - 301), sign(b"{}", now))

    for signature in forged:
        answer = await webhook(plane, payload, signature)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    assert (await webhook(plane, b"{}", sign(b"{}", now))).status_code == 400
    assert (await webhook(plane, live, sign(live, now))).json()["error"]["metadata"]["field"] == "livemode"
    assert (await webhook(plane, b" " * (512 * 1024 + 1), sign(payload, now))).status_code == 413
    assert await kept(plane) == before
    for secret in ("whsec_old", WEBHOOK_SECRET):
        assert (await webhook(plane, payload, sign(payload, now, secret))).status_code == 200
    assert await kept(plane) == before + 1
