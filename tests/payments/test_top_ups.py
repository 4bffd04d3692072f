"""Top-ups: asked for, paid at Stripe, credited once; whatever is lost, late, doubled or wrong on the way."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.payments.shop import Shop
from tests.payments.stripe_double import Kind, charging
from tests.payments.stripe_double.wire import Params

from tollgate.accounts.model import Organization
from tollgate.agreements import service as agreements
from tollgate.agreements.model import TaxTerms, TaxTreatment
from tollgate.kit.errors import Conflict, IdempotencyConflict, InvalidRequest
from tollgate.ledger import service as ledger
from tollgate.payments.records import TopUp, TopUpStatus
from tollgate.payments.store import top_ups as store

CHECKOUT = "POST /v1/checkout/sessions"
DAY = timedelta(days=1)


async def test_credit_comes_when_stripe_confirms_and_not_before(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)

    assert (top_up.status, (top_up.url or "")[:28]) == (TopUpStatus.OPEN, "https://checkout.stripe.test")
    assert await shop.grants(acme) == []
    shop.double.complete(top_up.session_id or "")
    assert await shop.grants(acme) == []
    await shop.hear()

    paid = await shop.now(top_up)
    (grant,) = await shop.grants(acme)
    assert (paid.status, paid.url, paid.grant_id) == (TopUpStatus.PAID, None, grant.id)
    assert (grant.amount, grant.category, grant.reference) == (Decimal(25), "paid", f"tup_{top_up.id}")
    assert await shop.balances(acme) == ("25", "0")
    assert await shop.told(acme) == ["top_up.paid"]


async def taxed(shop: Shop, treatment: str) -> Organization:
    """An organization whose tax is 19 % in this way."""
    acme = await shop.an_organization()
    tax = TaxTerms(TaxTreatment(treatment), Decimal(19))
    async with shop.database.write() as session:
        await agreements.change_billing(
            session,
            organization_id=acme.id,
            edit=lambda details: replace(details, tax=tax),
            by=None,
            now=shop.clock.now(),
        )
    return acme


@pytest.mark.parametrize(
    ("treatment", "asked", "owed"), [("exclusive", 2975, ("29.75", "-4.75")), ("inclusive", 2500, ("25", "0"))]
)
async def test_tax_that_is_added_is_paid_on_top_and_owed_to_the_state(
    shop: Shop, treatment: str, asked: int, owed: tuple[str, str]
) -> None:
    acme = await taxed(shop, treatment)
    opened = await shop.opened(acme)
    shop.double.complete(opened.session_id or "")
    await shop.hear()

    assert shop.double.every("checkout.session")[0]["amount_total"] == asked
    assert await shop.balances(acme) == owed
    assert [grant.amount for grant in await shop.grants(acme)] == [Decimal(25)]


async def test_what_goes_back_in_small_parts_leaves_no_tax(shop: Shop) -> None:
    acme = await taxed(shop, "exclusive")
    opened = await shop.opened(acme)
    shop.double.complete(opened.session_id or "")
    await shop.hear()
    intent = shop.double.every("payment_intent")[0]["id"]
    for units in (3, 3, 3, 2966):
        charging.create_refund(shop.double.world, Params({"payment_intent": intent, "amount": str(units)}))
        await shop.hear()

    assert await shop.balances(acme) == ("0", "0")
    assert [grant.remaining for grant in await shop.grants(acme)] == [0]


@pytest.mark.parametrize("kind", [Kind.LOST_AFTER, Kind.TOO_MANY])
async def test_a_page_whose_answer_does_not_come_is_opened_once_and_shown_later(shop: Shop, kind: Kind) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(kind, CHECKOUT)

    waiting = await shop.look(await shop.ask(acme))
    await shop.pass_time(timedelta(minutes=1))

    opened = await shop.now(waiting)
    assert (waiting.status, waiting.url) == (TopUpStatus.OPENING, None)
    assert (opened.status, opened.attempt) == (TopUpStatus.OPEN, 1)
    assert len(shop.double.every("checkout.session")) == 1


@pytest.mark.parametrize(("kind", "attempt"), [(Kind.FAILS_AFTER, 1), (Kind.FAILS, 2)])
async def test_a_key_that_is_spent_on_a_failure_is_followed_by_a_look(shop: Shop, kind: Kind, attempt: int) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(kind, CHECKOUT)

    waiting = await shop.look(await shop.ask(acme))
    await shop.pass_time(timedelta(minutes=1))

    opened = await shop.now(waiting)
    assert (waiting.status, opened.status, opened.attempt) == (TopUpStatus.OPENING, TopUpStatus.OPEN, attempt)
    assert [page["id"] for page in shop.double.every("checkout.session")] == [opened.session_id]


async def test_a_webhook_may_come_before_the_answer(shop: Shop) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(Kind.LOST_AFTER, CHECKOUT)
    waiting = await shop.look(await shop.ask(acme))
    (page,) = shop.double.every("checkout.session")
    shop.double.complete(page["id"])

    await shop.hear()

    paid = await shop.now(waiting)
    assert (paid.status, paid.session_id) == (TopUpStatus.PAID, page["id"])
    assert len(await shop.grants(acme)) == 1


async def test_webhooks_that_come_twice_late_and_in_any_order_credit_once(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "")
    events = list(shop.double.world.events)

    for several in (events[::-1], events, events[1:]):
        assert await shop.double.deliver(shop.receive, several) == [200] * len(several)
        await shop.pass_time(timedelta(seconds=30))
    await asyncio.gather(*(shop.look(top_up) for _ in range(4)))

    assert [grant.amount for grant in await shop.grants(acme)] == [Decimal(25)]
    assert await shop.balances(acme) == ("25", "0")
    assert await shop.told(acme) == ["top_up.paid"]


async def test_a_webhook_that_never_comes_is_made_up_for_by_asking(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "")

    await shop.pass_time(timedelta(minutes=10))

    assert (await shop.now(top_up)).status is TopUpStatus.PAID
    async with shop.database.read() as session:
        assert await store.due(session, now=shop.clock.now(), count=9) == []


async def test_a_page_that_nobody_pays_ends(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)

    for _ in range(4):
        await shop.pass_time(timedelta(hours=6))

    ended = await shop.now(top_up)
    assert (ended.status, ended.url) == (TopUpStatus.EXPIRED, None)
    assert await shop.grants(acme) == []


@pytest.mark.parametrize(("arrives", "status"), [(True, TopUpStatus.PAID), (False, TopUpStatus.FAILED)])
async def test_a_slow_payment_is_credited_when_it_arrives(shop: Shop, arrives: bool, status: TopUpStatus) -> None:  # noqa: FBT001 - a parameter of the test
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "", "slow")
    await shop.hear()
    between = await shop.now(top_up)
    intent = shop.double.every("payment_intent")[0]["id"]
    shop.double.confirm(intent) if arrives else shop.double.bounce(intent)
    await shop.hear()

    assert between.status is TopUpStatus.PROCESSING
    assert (await shop.now(top_up)).status is status
    assert len(await shop.grants(acme)) == (1 if arrives else 0)


async def test_a_customer_who_was_deleted_at_stripe_is_made_anew(shop: Shop) -> None:
    acme = await shop.an_organization()
    first = await shop.opened(acme)
    shop.double.delete_customer(first.customer_id or "")

    second = await shop.opened(acme)

    assert second.customer_id not in {None, first.customer_id}
    shop.double.complete(second.session_id or "")
    await shop.hear()
    assert (await shop.now(second)).status is TopUpStatus.PAID


async def test_a_customer_may_be_deleted_while_the_page_is_opened(shop: Shop) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(Kind.TOO_MANY, CHECKOUT)
    waiting = await shop.look(await shop.ask(acme))
    shop.double.delete_customer((await shop.now(waiting)).customer_id or "")

    await shop.pass_time(timedelta(minutes=1))

    opened = await shop.now(waiting)
    assert (opened.status, opened.attempt) == (TopUpStatus.OPEN, 2)


def _other(**said: Any) -> Any:
    return lambda thing: {**thing, **said}


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("GET /v1/checkout/sessions/", {"id": "cs_other"}),
        ("GET /v1/payment_intents/", {"amount_received": 2499}),
    ],
)
async def test_what_does_not_fit_is_parked_and_credits_nothing(shop: Shop, at: str, said: dict[str, Any]) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "")
    shop.double.faults.answer_with(_other(**said), at)

    parked = await shop.look(top_up)

    assert (parked.status, bool(parked.reason)) == (TopUpStatus.PARKED, True)
    assert await shop.grants(acme) == []
    await shop.pass_time(DAY)  # nothing happens by itself
    assert (await shop.now(top_up)).status is TopUpStatus.PARKED
    assert (await shop.look(top_up)).status is TopUpStatus.PAID  # a person asked again, and now it fits


async def test_a_page_of_another_amount_is_never_shown(shop: Shop) -> None:
    acme = await shop.an_organization()
    shop.double.faults.answer_with(_other(amount_total=1), CHECKOUT)

    parked = await shop.look(await shop.ask(acme))

    assert (parked.status, parked.url) == (TopUpStatus.PARKED, None)
    assert parked.reason == "The page at Stripe is over 0.01 USD, not 25 USD."


async def test_what_stripe_refuses_fails_with_its_reason(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.ask(acme)
    shop.clock.at = top_up.expires_at + DAY  # as if nobody had looked for a day

    late = await shop.look(top_up)
    shop.clock.at = shop.double.world.now
    other = await shop.ask(acme)
    shop.double.advance(-DAY)  # Stripe's clock is far from ours
    refused = await shop.look(other)

    assert (late.status, late.reason) == (TopUpStatus.FAILED, "The page could not be opened in time.")
    assert refused.status is TopUpStatus.FAILED
    assert "30 minutes" in (refused.reason or "")


async def test_only_so_many_pages_wait_at_once(shop: Shop) -> None:
    acme = await shop.an_organization()
    for _ in range(5):
        await shop.ask(acme)

    with pytest.raises(Conflict, match="5 top-ups wait"):
        await shop.ask(acme)
    shop.clock.at += DAY
    await shop.ask(acme)


async def test_the_same_idempotency_key_asks_once(shop: Shop) -> None:
    acme = await shop.an_organization()
    first = await shop.ask(acme, once="k")

    assert (await shop.ask(acme, once="k")).id == first.id
    assert (await shop.ask(acme, "25.00", once="k")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await shop.ask(acme, "26", once="k")
    assert (await shop.ask(await shop.an_organization(), once="k")).id != first.id


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"amount": "0.99"}, "amount"),
        ({"amount": "100000.01"}, "amount"),
        ({"amount": "5.001"}, "amount"),
        ({"success_url": "http://shop.test"}, "success_url"),
        ({"cancel_url": "javascript:alert(1)"}, "cancel_url"),
        ({"cancel_url": "https://user:secret@shop.test"}, "cancel_url"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_by_name(shop: Shop, order: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await shop.ask(await shop.an_organization(), **order)
    assert refused.value.field == field


async def test_the_money_of_a_top_up_that_is_voided_is_still_at_stripe(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "")
    await shop.hear()
    (grant,) = await shop.grants(acme)

    async with shop.database.write() as session:
        await ledger.void_grant(session, grant=(acme.id, grant.id), reason="refund", by=None, now=shop.clock.now())

    assert await shop.balances(acme) == ("25", "0")


async def test_what_is_paid_never_changes(shop: Shop) -> None:
    acme = await shop.an_organization()
    top_up = await shop.opened(acme)
    shop.double.complete(top_up.session_id or "")
    await shop.hear()
    paid = await shop.now(top_up)

    async def change(changed: TopUp) -> None:
        async with shop.database.write() as session:
            await store.save(session, changed)

    with pytest.raises(Exception, match="never changes"):
        await change(replace(paid, status=TopUpStatus.OPEN, grant_id=None, closed_at=None))
    other = await shop.ask(acme)
    with pytest.raises(Exception, match="never changes"):
        await change(replace(other, amount=Decimal(1000)))
