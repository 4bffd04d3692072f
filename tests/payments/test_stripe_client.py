"""The door to Stripe: our own values, one key a write, and errors that say whether to ask again."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import NOON
from tests.payments.stripe_double import SECRET_KEY, Kind, StripeDouble

from tollgate.payments.model import (
    CheckoutOrder,
    InvoiceOrder,
    InvoiceState,
    ItemOrder,
    NotTheirs,
    RefundState,
    SessionState,
    StripeAway,
    StripeBalance,
    StripeBusy,
    StripeDeclined,
    StripeError,
    StripeInvoice,
    StripeKeySpent,
    StripeMissing,
    StripeRefused,
    StripeUnauthorised,
    StripeUnsure,
)
from tollgate.payments.rules import readings
from tollgate.payments.stripe_client import StripeClient

HOUR = timedelta(hours=1)
TWELVE = Decimal(12)


async def a_customer(door: StripeClient, key: str = "c") -> str:
    return (await door.create_customer(name="Acme", metadata={"organization": "org_1"}, key=key)).id


async def an_open_invoice(door: StripeClient, customer: str, *amounts: str, currency: str = "USD") -> StripeInvoice:
    order = InvoiceOrder(customer, "INV-1", currency, {"invoice": "inv_1"}, description="November")
    draft = await door.create_invoice(order, key="i")
    for n, amount in enumerate(amounts):
        item = ItemOrder(customer, draft.id, Decimal(amount), currency, f"line {n}", {"line": str(n)})
        await door.add_invoice_item(item, key=f"i{n}")
    return await door.finalise_invoice(draft.id, key="f")


def a_page(customer: str, amount: str = "25") -> CheckoutOrder:
    lines = [("Credit", Decimal(amount)), ("Tax", Decimal("4.75"))]
    return CheckoutOrder(customer, "tup_1", "USD", lines, "https://a.test/y", "https://a.test/n", NOON + HOUR, {})


async def test_an_invoice_is_mirrored_paid_and_found_again(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)
    method = double.store_method(customer)["id"]
    opened = await an_open_invoice(door, customer, "12.34", "0.66", "-1")

    paid = await door.pay_invoice(opened.id, key="p")

    assert (opened.state, opened.total, opened.number, opened.currency) == (
        InvoiceState.OPEN, Decimal(12), "INV-1", "USD",
    )  # fmt: skip
    assert (paid.state, paid.amount_paid, paid.amount_remaining, paid.paid_at) == (
        InvoiceState.PAID,
        TWELVE,
        0 * TWELVE,
        NOON,
    )
    assert paid == await door.invoice(opened.id)
    assert paid == await door.find_invoice(customer, name="invoice", value="inv_1")
    assert await door.find_invoice(customer, name="invoice", value="inv_2") is None
    (intent_id,) = paid.payment_intent_ids
    assert await door.invoice_of(intent_id) == paid.id
    intent = await door.payment_intent(intent_id)
    charge = await door.charge(intent.latest_charge_id or "")
    assert (intent.status, intent.amount_received, charge.amount, charge.status) == (
        "succeeded",
        TWELVE,
        TWELVE,
        "succeeded",
    )
    assert (await door.customer(customer)).default_payment_method_id == method
    assert [each.last4 for each in await door.methods(customer)] == ["4242"]


async def test_money_that_comes_back_is_read_with_its_movements(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)
    double.store_method(customer)
    paid = await door.pay_invoice((await an_open_invoice(door, customer, "100")).id, key="p")
    (intent,) = paid.payment_intent_ids

    refund = await door.create_refund(intent, amount=Decimal("30.5"), currency="USD", metadata={"a": "b"}, key="r")
    double.end_refund(refund.id, failed=True)
    double.dispute(double.every("charge")[0]["id"])

    assert (refund.state, refund.amount, refund.metadata) == (RefundState.SUCCEEDED, Decimal("30.5"), {"a": "b"})
    assert (await door.refund(refund.id)).state is RefundState.FAILED
    assert [each.id for each in await door.refunds_of(intent)] == [refund.id]
    (dispute,) = await door.disputes(payment_intent_id=intent)
    assert dispute == await door.dispute(dispute.id)
    assert [(each.amount, each.fee) for each in dispute.balance_transactions] == [(Decimal(-100), Decimal(15))]
    moved = await door.balance_transactions(since=NOON)
    assert sum(each.net for each in moved) == Decimal("-18.2")  # 100 - 3.2 - 30.5 + 30.5 - 115
    assert await door.balances() == [StripeBalance("USD", Decimal(0), Decimal("-18.2"))]
    double.advance(timedelta(days=3))
    double.pay_out()
    (payout,) = await door.payouts(since=NOON)
    assert len(await door.balance_transactions(payout_id=payout.id)) == 5
    assert "charge.refunded" in {each.type for each in await door.events(since=NOON)}
    assert [each.type for each in await door.events(since=NOON, types=["payout.paid"])] == ["payout.paid"]


async def test_pages_are_opened_found_and_closed(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)
    page = await door.create_checkout(a_page(customer), key="t")

    assert (page.state, page.amount, page.currency, page.is_paid) == (SessionState.OPEN, Decimal("29.75"), "USD", False)
    assert await door.find_session(customer, reference="tup_1") == page
    double.complete(page.id)
    assert (await door.session(page.id)).is_paid
    setup = await door.create_setup(
        customer, currency="USD", success_url="https://a.test/y", cancel_url="https://a.test/n", key="s"
    )
    double.complete(setup.id)
    stored = (await door.session(setup.id)).setup_method_id
    assert stored is not None
    assert (await door.set_default_method(customer, stored, key="d")).default_payment_method_id == stored
    assert (await door.open_portal(customer, return_url="https://a.test", key="o")).startswith("https://billing.")


async def test_a_draft_can_be_thrown_away_and_an_open_invoice_voided_or_paid_elsewhere(door: StripeClient) -> None:
    customer = await a_customer(door)
    draft = await door.create_invoice(InvoiceOrder(customer, "D-1", "USD", {}, days_until_due=30), key="d")
    await door.delete_draft(draft.id)
    opened = await an_open_invoice(door, customer, "5")

    with pytest.raises(StripeMissing):
        await door.invoice(draft.id)
    paid = await door.mark_invoice_paid_out_of_band(opened.id, key="m")
    assert (paid.state, paid.is_paid_elsewhere) == (InvoiceState.PAID, True)
    with pytest.raises(StripeRefused):
        await door.void_invoice(opened.id, key="v")


async def test_a_deleted_customer_is_known_as_such_and_found_no_more(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)
    assert await door.find_customer(name="organization", value="org_1") is not None
    double.delete_customer(customer)

    assert (await door.customer(customer)).is_deleted
    assert await door.find_customer(name="organization", value="org_1") is None
    with pytest.raises(StripeMissing):
        await door.create_checkout(a_page(customer), key="t")


async def test_declines_say_why(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)
    double.store_method(customer, "declining")
    opened = await an_open_invoice(door, customer, "5")

    with pytest.raises(StripeDeclined) as declined:
        await door.pay_invoice(opened.id, key="p")

    told = declined.value
    assert (told.code, told.decline_code, told.payment_intent_id, told.charge_id) == (
        "card_declined", "insufficient_funds", opened.payment_intent_ids[0], double.every("charge")[0]["id"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "error", "made"),
    [
        (Kind.TOO_MANY, StripeBusy, 1),
        (Kind.LOCKED, StripeBusy, 1),
        (Kind.LOST, StripeUnsure, 1),
        (Kind.LOST_AFTER, StripeUnsure, 1),
        (Kind.GARBLED, StripeUnsure, 1),
    ],
)
async def test_what_may_have_happened_is_asked_again_with_the_same_key(
    door: StripeClient, double: StripeDouble, kind: Kind, error: type[Exception], made: int
) -> None:
    double.faults.plan(kind)
    with pytest.raises(error):
        await a_customer(door)

    await a_customer(door)

    assert len(double.every("customer")) == made
    assert len(double.calls) == 2  # nothing was retried out of sight


async def test_a_failure_that_stripe_keeps_says_that_the_key_is_spent(door: StripeClient, double: StripeDouble) -> None:
    double.faults.plan(Kind.FAILS_AFTER)
    with pytest.raises(StripeBusy) as first:
        await a_customer(door)
    with pytest.raises(StripeAway) as again:
        await a_customer(door)

    assert (first.value.is_replay, again.value.is_replay) == (False, True)
    assert len(double.every("customer")) == 1


async def test_an_answer_that_does_not_come_ends_in_time(double: StripeDouble) -> None:
    hasty = StripeClient(SECRET_KEY, base=double.url, timeout_seconds=1)
    double.faults.plan(Kind.SILENT_AFTER)

    with pytest.raises(StripeUnsure):
        await a_customer(hasty)

    assert len(double.every("customer")) == 1
    await hasty.close()


async def test_a_key_is_for_one_request(door: StripeClient) -> None:
    await a_customer(door)

    with pytest.raises(StripeKeySpent):
        await door.create_customer(name="Other", metadata={}, key="c")


async def test_a_wrong_secret_key_is_told_apart(double: StripeDouble) -> None:
    stranger = StripeClient("sk_test_other", base=double.url)

    with pytest.raises(StripeUnauthorised):
        await a_customer(stranger)
    assert not stranger.is_live
    assert StripeClient("rk_live_1").is_live
    await stranger.close()


async def test_somebody_elses_object_is_not_taken_for_ours(door: StripeClient, double: StripeDouble) -> None:
    customer = await a_customer(door)

    def another(thing: dict[str, Any]) -> dict[str, Any]:
        return {**thing, "id": "cus_other"}

    double.faults.answer_with(another, "GET /v1/customers")
    with pytest.raises(NotTheirs):
        await door.customer(customer)
    double.faults.answer_with(lambda thing: {**thing, "client_reference_id": "tup_2"}, "POST /v1/checkout")
    with pytest.raises(NotTheirs):
        await door.create_checkout(a_page(customer), key="t")
    double.faults.answer_with(lambda thing: {**thing, "created": "soon", "status": "lent"}, "POST /v1/invoices")
    with pytest.raises(StripeError, match="cannot be read"):
        await door.create_invoice(InvoiceOrder(customer, "D-1", "USD", {}), key="d")


async def test_amounts_are_stripes_own_in_odd_currencies(door: StripeClient, double: StripeDouble) -> None:
    opened = await an_open_invoice(door, await a_customer(door), "500", "7", currency="ISK")

    assert (double.every("invoice")[0]["total"], opened.total) == (50_700, Decimal(507))


@pytest.mark.parametrize(
    "units", ["abc", "1e9", "\N{FULLWIDTH DIGIT ONE}00", 1.5, float("nan"), True, None, 10**60 + 1]
)
def test_an_amount_is_a_whole_number_or_cannot_be_read(units: object) -> None:
    raw = {"id": "pi_1", "status": "succeeded", "currency": "usd", "amount": 100, "amount_received": units}

    with pytest.raises(StripeError, match="cannot be read"):
        readings.read(raw, readings.payment_intent)


def test_a_moment_beyond_all_calendars_cannot_be_read() -> None:
    raw = {"id": "po_1", "status": "paid", "currency": "usd", "amount": 1, "automatic": True, "created": 1}

    with pytest.raises(StripeError, match="cannot be read"):
        readings.read({**raw, "arrival_date": 10**20}, readings.payout)
