"""Discounts and markups on whole calls: answered, held, recorded, reported and invoiced at the adjusted price."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway.fake_provider import USAGE, refusal, streamed, whole
from tests.gateway.installation import PRICES, Customer, Installation, provider_of

from tollgate.entrypoints import doctor
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.kit.ids import OrganizationId

LIST = Decimal("0.00082")
"""800 · 0.4 + 200 · 0.1 + 300 · 1.6 millionths."""
ODD = Decimal("0.0007187662")
"""At 12.3456 % less, each price rounded to six decimals: 800 · 0.350618 + 200 · 0.087654 + 300 · 1.40247 millionths."""
MONTH = datetime.now(UTC).strftime("%Y-%m")  # noqa: TID251 - the gateway lives by the real clock, and so do its months


@pytest.fixture(scope="module")
async def database(gateway: Installation) -> AsyncIterator[Database]:
    opened = databases.connect(gateway.database_url)
    yield opened
    await opened.close()


async def adjust(gateway: Installation, percent: str, **scope: str) -> Any:
    return (await gateway.admin("/price-adjustments", {"percent": percent, **scope}))["data"]


async def act(gateway: Installation, path: str, **body: Any) -> Any:
    headers = {"x-api-key": gateway.operator_key}
    answer = await gateway.http.post(f"/admin{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def cost(customer: Customer, model: str, **rest: Any) -> Decimal:
    """What the answer says that it cost."""
    answer = await customer.ask(model, **rest)
    assert answer.status_code == 200, answer.text
    return sum((Decimal(item["amount"]) for item in answer.json()["usage"]["cost_details"]), Decimal(0))


async def told(gateway: Installation, path: str, key: str | None = None, **parameters: str) -> Any:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = await gateway.http.get(path, headers=headers, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_discount_is_charged_on_the_very_next_call_and_to_nobody_else(gateway: Installation) -> None:
    customer, stranger, model = await gateway.customer(), await gateway.customer(), await gateway.model(whole())
    assert await cost(customer, model) == LIST

    adjustment = await adjust(gateway, "-12.3456", organization=customer.organization)
    assert await cost(customer, model) == ODD
    assert await cost(stranger, model) == LIST
    await act(gateway, f"/price-adjustments/{adjustment['id']}/end")
    assert await cost(customer, model) == LIST

    before, call, after = await customer.calls()
    assert (call["origin_amount"], call["amount"], call["provider_cost"]) == (LIST, ODD, LIST)
    assert before["price_version_id"] == after["price_version_id"] != call["price_version_id"]
    (attempt,) = [each for each in await customer.attempts() if each["call_id"] == call["id"]]
    assert attempt["provider_cost"] == LIST
    charge = (await customer.generation(f"gen_{call['id']}"))["charge"]
    assert (charge["origin"], charge["amount"]) == (str(LIST), str(ODD))
    assert Decimal(charge["discount"]) == LIST - ODD
    assert charge["adjustment"] == {"id": adjustment["id"], "percent": "-12.3456"}
    assert sum(Decimal(item["amount"]) for item in charge["items"]) == ODD
    shown = await told(gateway, f"/models/{model}/endpoints")
    assert shown["data"][0]["pricing"]["prompt"][0]["price"] == "0.4"


async def test_a_general_markup_is_charged_to_everybody_and_shown_to_everybody(gateway: Installation) -> None:
    one, other = await gateway.customer(), await gateway.customer()
    model = await gateway.model(whole(), streamed())
    await adjust(gateway, "25", model=model, provider=provider_of(model))

    assert [await cost(customer, model) for customer in (one, other)] == [Decimal("0.001025")] * 2
    shown = await told(gateway, f"/models/{model}/endpoints")
    by_provider = {each["provider"]: each["pricing"] for each in shown["data"]}
    prices = {place: by_provider[provider_of(model, place)]["completion"][0]["price"] for place in (0, 1)}
    assert prices == {0: "2", 1: "1.6"}
    call = await one.call()
    assert (call["origin_amount"], call["amount"], call["provider_cost"]) == (LIST, Decimal("0.001025"), LIST)


async def test_an_own_price_beats_every_adjustment_until_it_is_ended(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    await adjust(gateway, "-50", organization=customer.organization)
    own = await gateway.admin("/prices", {
        "model": model, "provider": provider_of(model), "organization": customer.organization,
        "items": [{"kind": kind, "price": "1", "unit": "per_million_tokens"} for kind in PRICES],
    })  # fmt: skip

    assert await cost(customer, model) == Decimal("0.0013")
    call = await customer.call()
    assert (call["origin_amount"], call["provider_cost"]) == (Decimal("0.0013"), None)
    await act(gateway, f"/prices/{own['data']['id']}/end")
    assert await cost(customer, model) == LIST / 2


async def test_ceilings_compare_what_the_caller_pays(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    ceiling = {"provider": {"max_price": {"prompt": 0.38}}}
    assert (await customer.ask(model, **ceiling)).status_code == 404

    await adjust(gateway, "-10", organization=customer.organization, model=model)
    assert await cost(customer, model, **ceiling) == LIST * 9 / 10
    await adjust(gateway, "5", organization=customer.organization, model=model)
    assert (await customer.ask(model, **ceiling)).status_code == 404


async def test_what_is_adjusted_to_nothing_needs_no_balance(gateway: Installation) -> None:
    customer, model = await gateway.customer(grant=None), await gateway.model(whole())
    assert (await customer.ask(model)).status_code == 402

    await adjust(gateway, "-100", organization=customer.organization)
    assert await cost(customer, model) == 0
    call = await customer.call()
    assert (call["origin_amount"], call["amount"], call["status"]) == (LIST, 0, "settled")


async def test_holds_are_of_the_adjusted_price(gateway: Installation) -> None:
    """The worst case of 32,768 tokens at 1.6 does not fit 0.03; at a tenth of it, it does, and nothing is capped."""
    customer, model = await gateway.customer(grant="0.03"), await gateway.model(whole())
    assert "x-tollgate-max-tokens" in (await customer.ask(model)).headers

    await adjust(gateway, "-90", organization=customer.organization)
    assert "x-tollgate-max-tokens" not in (await customer.ask(model)).headers


async def test_an_attempt_in_vain_costs_what_the_provider_lists(gateway: Installation) -> None:
    broken = whole("", usage=USAGE, finish="error")
    customer, model = await gateway.customer(), await gateway.model(refusal(503), broken)
    await adjust(gateway, "-50", organization=customer.organization)

    await customer.ask(model)

    call = await customer.call()
    assert (call["status"], call["origin_amount"], call["amount"], call["provider_cost"]) == ("insured", 0, 0, LIST)
    assert [attempt["provider_cost"] for attempt in await customer.attempts()] == [None, LIST]


async def test_reports_ledger_and_invoice_say_the_same(gateway: Installation, database: Database) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    manager = (await gateway.key(customer.organization, kind="management"))["key"]
    scope = {"organization": customer.organization}
    paid = [await cost(customer, model, user="ann")]
    for percent in ("-12.3456", "33.3333", "0"):
        await adjust(gateway, percent, **scope)
        paid += [await cost(customer, model, user=user) for user in ("ann", "bob")]
    total = sum(paid)

    month = await told(gateway, "/usage", manager, month=MONTH)
    quarters = await told(gateway, "/usage", manager, month=MONTH, granularity="15m")
    by_user = await told(gateway, "/usage", manager, month=MONTH, group_by="user")
    assert Decimal(month["total"]["amount"]) == total
    assert sum(Decimal(row["amount"]) for row in quarters["data"]) == total
    assert {row["user"]: Decimal(row["amount"]) for row in by_user["data"]} == {
        "ann": sum((*paid[:2], *paid[3::2])), "bob": sum(paid[2::2]),
    }  # fmt: skip
    assert await customer.balance() == 5 - total
    invoice = await act(gateway, f"/organizations/{customer.organization}/invoices", month=MONTH)
    usage = [line for line in invoice["lines"] if line["type"] == "usage"]
    assert (Decimal(invoice["subtotal_exact"]), Decimal(invoice["credits_exact"])) == (total, -total)
    assert len(usage) == 3 * 3, "a line for each kind at each price; by nothing more or less, the price is the list's"
    for line in usage:
        assert Decimal(line["amount_exact"]) == line["quantity"] * Decimal(line["unit_price"]) / 1_000_000
        calls = (await told(gateway, f"/invoices/{invoice['id']}/lines/{line['n']}/calls", manager))["data"]
        assert sum(Decimal(call["amount"]) for call in calls) == Decimal(line["amount_exact"])
    report = await doctor.examine(database, organization_id=OrganizationId(customer.organization_id))
    assert report.complaints == ()
