"""The double behaves as Stripe does, by what Stripe's own library makes of it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import stripe
from tests.payments.stripe_double import WEBHOOK_SECRET, Kind, Problem, StripeDouble, sign


async def a_customer(library: stripe.StripeClient, **metadata: str) -> str:
    return (await library.v1.customers.create_async({"name": "Acme", "metadata": metadata})).id


async def an_invoice(library: stripe.StripeClient, customer: str, *amounts: int, number: str = "A-1") -> str:
    made = await library.v1.invoices.create_async(
        {"customer": customer, "currency": "usd", "number": number, "auto_advance": False}
    )
    for amount in amounts:
        await library.v1.invoice_items.create_async(
            {"customer": customer, "invoice": made.id, "amount": amount, "currency": "usd", "description": "usage"}
        )
    return made.id


async def test_an_invoice_goes_from_draft_to_paid(library: stripe.StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(library)
    double.store_method(customer)
    invoice = await an_invoice(library, customer, 1000, 250, -50)

    final = await library.v1.invoices.finalize_invoice_async(invoice, {"expand": ["payments"]})
    paid = await library.v1.invoices.pay_async(invoice, {"expand": ["payments"]})

    assert (final.status, final.total, final.number) == ("open", 1200, "A-1")
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 1200, 0)
    assert paid.payments is not None
    intent = await library.v1.payment_intents.retrieve_async(str(paid.payments.data[0].payment.payment_intent))
    charge = await library.v1.charges.retrieve_async(str(intent.latest_charge), {"expand": ["balance_transaction"]})
    assert (intent.status, charge.paid, charge.amount) == ("succeeded", True, 1200)
    moved: Any = charge.balance_transaction
    assert (moved.amount, moved.fee, moved.net) == (1200, 64, 1136)  # 2.9 % of 1200 is 34.8
    assert [event["type"] for event in double.world.events][-4:] == [
        "charge.succeeded", "payment_intent.succeeded", "invoice.paid", "invoice.payment_succeeded",
    ]  # fmt: skip


async def test_payments_are_only_told_when_they_are_asked_for(library: stripe.StripeClient) -> None:
    invoice = await library.v1.invoices.retrieve_async(await an_invoice(library, await a_customer(library)))

    assert "payments" not in invoice.to_dict()


async def test_numbers_of_invoices_are_unique(library: stripe.StripeClient) -> None:
    customer = await a_customer(library)
    await an_invoice(library, customer)

    with pytest.raises(stripe.InvalidRequestError):
        await an_invoice(library, customer)


async def test_a_decline_names_the_payment_and_leaves_the_invoice_open(
    library: stripe.StripeClient, double: StripeDouble
) -> None:
    customer = await a_customer(library)
    double.store_method(customer, "declines_once")
    invoice = await an_invoice(library, customer, 500)
    await library.v1.invoices.finalize_invoice_async(invoice)

    with pytest.raises(stripe.CardError) as declined:
        await library.v1.invoices.pay_async(invoice)

    assert declined.value.code == "card_declined"
    assert declined.value.error is not None
    assert declined.value.error.decline_code == "insufficient_funds"
    assert (await library.v1.invoices.retrieve_async(invoice)).attempt_count == 1
    assert (await library.v1.invoices.pay_async(invoice)).status == "paid"


async def test_a_payment_that_must_be_confirmed_waits_for_the_customer(
    library: stripe.StripeClient, double: StripeDouble
) -> None:
    customer = await a_customer(library)
    double.store_method(customer, "needs_confirmation")
    invoice = await an_invoice(library, customer, 500)
    await library.v1.invoices.finalize_invoice_async(invoice)

    with pytest.raises(stripe.CardError, match="authentication"):
        await library.v1.invoices.pay_async(invoice)
    double.confirm(double.every("payment_intent")[0]["id"])

    assert (await library.v1.invoices.retrieve_async(invoice)).status == "paid"


async def test_the_same_key_is_answered_the_same_and_done_once(
    library: stripe.StripeClient, double: StripeDouble
) -> None:
    once: Any = {"idempotency_key": "k"}
    first = await library.v1.customers.create_async({"name": "Acme"}, once)
    again = await library.v1.customers.create_async({"name": "Acme"}, once)

    assert (first.id, len(double.every("customer"))) == (again.id, 1)
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        await library.v1.customers.create_async({"name": "Other"}, once)


async def test_a_key_is_forgotten_after_a_day(library: stripe.StripeClient, double: StripeDouble) -> None:
    for _ in range(2):
        await library.v1.customers.create_async({"name": "Acme"}, {"idempotency_key": "k"})
        double.advance(timedelta(hours=24))

    assert len(double.every("customer")) == 2


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        (Kind.TOO_MANY, stripe.RateLimitError, 0),
        (Kind.LOCKED, stripe.APIError, 0),
        (Kind.FAILS, stripe.APIError, 0),
        (Kind.FAILS_AFTER, stripe.APIError, 1),
        (Kind.LOST, stripe.APIConnectionError, 0),
        (Kind.LOST_AFTER, stripe.APIConnectionError, 1),
        (Kind.GARBLED, stripe.APIError, 1),
    ],
)
async def test_a_call_can_go_wrong_before_or_after_it_is_done(
    library: stripe.StripeClient, double: StripeDouble, kind: Kind, error: type[Exception], done: int
) -> None:
    double.faults.plan(kind, "POST /v1/customers")

    with pytest.raises(error):
        await library.v1.customers.create_async({"name": "Acme"}, {"idempotency_key": "k"})

    assert len(double.every("customer")) == done


async def test_a_key_whose_request_failed_is_spent(library: stripe.StripeClient, double: StripeDouble) -> None:
    double.faults.plan(Kind.FAILS_AFTER)

    with pytest.raises(stripe.APIError):
        await library.v1.customers.create_async({"name": "Acme"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.APIError) as failed:
        await library.v1.customers.create_async({"name": "Acme"}, {"idempotency_key": "k"})
    assert (failed.value.headers or {})["idempotent-replayed"] == "true"
    assert len(double.every("customer")) == 1


async def test_lists_come_in_pages(library: stripe.StripeClient) -> None:
    made = [await a_customer(library, n=str(number)) for number in range(5)]
    invoices = [await an_invoice(library, made[0], number=str(number)) for number in range(5)]

    listed = await library.v1.invoices.list_async({"customer": made[0], "limit": 2})
    found = await library.v1.customers.search_async({"query": "metadata['n']:'3'"})

    assert [each.id async for each in listed.auto_paging_iter()] == invoices[::-1]
    assert [each.id for each in found.data] == [made[3]]


async def test_what_is_asked_wrongly_is_refused(library: stripe.StripeClient) -> None:
    odd: Any = {"name": "Acme", "colour": "red"}
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: colour"):
        await library.v1.customers.create_async(odd)
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await library.v1.invoices.retrieve_async("in_none")
    assert missing.value.code == "resource_missing"
    with pytest.raises(stripe.InvalidRequestError):
        await library.v1.disputes.list_async({"limit": 1000})


async def test_a_page_is_paid_once_and_expires_by_itself(library: stripe.StripeClient, double: StripeDouble) -> None:
    params: Any = {
        "mode": "payment",
        "customer": await a_customer(library),
        "client_reference_id": "tup_1",
        "success_url": "https://shop.test/yes",
        "line_items": [
            {"quantity": 2, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Credit"}}}
        ],
    }
    paid = await library.v1.checkout.sessions.create_async(params)
    left = await library.v1.checkout.sessions.create_async(params)
    double.complete(paid.id)
    double.advance(timedelta(hours=24))

    assert (paid.status, paid.amount_total) == ("open", 1000)
    done = await library.v1.checkout.sessions.retrieve_async(paid.id)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    assert (await library.v1.checkout.sessions.retrieve_async(left.id)).status == "expired"
    with pytest.raises(Problem):
        double.complete(paid.id)


async def test_money_moves_through_refund_dispute_and_payout(
    library: stripe.StripeClient, double: StripeDouble
) -> None:
    customer = await a_customer(library)
    double.store_method(customer)
    for number in ("A-1", "A-2"):
        invoice = await an_invoice(library, customer, 10_000, number=number)
        await library.v1.invoices.finalize_invoice_async(invoice)
        await library.v1.invoices.pay_async(invoice)
    second, first = double.every("charge")

    refund = await library.v1.refunds.create_async({"payment_intent": first["payment_intent"], "amount": 4000})
    double.end_refund(refund.id, failed=True)
    opened = double.dispute(second["id"])
    double.end_dispute(opened["id"], won=True)
    double.advance(timedelta(days=3))
    payout = double.pay_out()

    listed = await library.v1.balance_transactions.list_async({"payout": payout["id"], "limit": 100})
    moved = [(each.type, each.net) for each in reversed(listed.data)]
    assert moved == [
        ("charge", 9680),  # 2.9 % of 100 is 2.90, and 0.30
        ("charge", 9680),
        ("refund", -4000),
        ("refund_failure", 4000),
        ("adjustment", -11_500),  # and 15 for the trouble
        ("adjustment", 10_000),
        ("payout", -17_860),
    ]
    with pytest.raises(stripe.InvalidRequestError):
        await library.v1.refunds.create_async({"payment_intent": second["payment_intent"]})
    assert (await library.v1.disputes.list_async()).data[0].status == "won"
    assert (await library.v1.balance.retrieve_async()).available[0].amount == 0


async def test_webhooks_are_signed_as_the_library_expects(library: stripe.StripeClient, double: StripeDouble) -> None:
    await a_customer(library)
    received: list[str] = []

    async def receive(payload: bytes, signature: str) -> int:
        await asyncio.sleep(0)
        event: Any = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET, tolerance=10**9)
        received.append(event.type)
        return 200

    assert await double.deliver(receive) == [200]
    assert await double.deliver(receive, double.world.events * 2) == [200, 200]
    assert await double.deliver(receive) == []
    assert received == ["customer.created"] * 3
    assert sign(b"{}", 1, "whsec_other") != sign(b"{}", 1)
