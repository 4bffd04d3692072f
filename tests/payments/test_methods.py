"""What customers pay with: stored on Stripe's pages, and the newest of it used."""

from datetime import timedelta
from uuid import UUID

import pytest
from tests.payments.shop import PAGES, Shop
from tests.payments.stripe_double import Kind

from tollgate.accounts.model import Organization
from tollgate.kit.errors import IdempotencyConflict, InvalidRequest, NotFound
from tollgate.kit.ids import OrganizationId
from tollgate.payments.model import NotTheirs, StripeBusy, StripeUnsure
from tollgate.payments.records import Pages
from tollgate.payments.service import customers
from tollgate.payments.service import methods as service

BACK = Pages(**PAGES)


async def set_up(shop: Shop, organization: Organization, once: str) -> str:
    """The id of the page that was opened."""
    await service.open_setup(shop.at, organization_id=organization.id, pages=BACK, once=once)
    return str(shop.double.every("checkout.session")[0]["id"])


async def customer_of(shop: Shop, organization: Organization) -> str:
    return await customers.ensure(shop.at, organization_id=organization.id)


async def test_what_is_stored_on_the_page_becomes_what_invoices_are_paid_with(shop: Shop) -> None:
    acme = await shop.an_organization()
    assert await service.current(shop.at, organization_id=acme.id) is None
    page = await set_up(shop, acme, "a")
    shop.double.complete(page)
    await shop.hear()

    method = await service.current(shop.at, organization_id=acme.id)
    assert method is not None
    assert (method.brand, method.last4, method.expires_month, method.expires_year) == ("visa", "4242", 12, 2030)
    customer = await shop.at.stripe.customer(await customer_of(shop, acme))
    assert customer.default_payment_method_id == method.id


async def test_pages_that_are_told_of_out_of_order_leave_the_newest(shop: Shop) -> None:
    acme = await shop.an_organization()
    for once in ("a", "b"):
        shop.double.complete(await set_up(shop, acme, once))
    told = [event for event in shop.double.world.events if event["type"] == "checkout.session.completed"]
    newest = shop.double.every("payment_method")[0]["id"]

    for event in told[::-1]:
        await shop.double.deliver(shop.receive, [event])
        await shop.pass_time(timedelta(seconds=10))

    customer = await shop.at.stripe.customer(await customer_of(shop, acme))
    assert customer.default_payment_method_id == newest


async def test_the_same_request_is_answered_the_same_page(shop: Shop) -> None:
    acme = await shop.an_organization()
    first = await service.open_setup(shop.at, organization_id=acme.id, pages=BACK, once="a")

    assert await service.open_setup(shop.at, organization_id=acme.id, pages=BACK, once="a") == first
    other = Pages("https://shop.test/else", BACK.cancel_url)
    with pytest.raises(IdempotencyConflict):
        await service.open_setup(shop.at, organization_id=acme.id, pages=other, once="a")
    portal = await service.open_portal(shop.at, organization_id=acme.id, return_url="https://shop.test", once="a")
    assert portal.startswith("https://billing.stripe.test/")
    with pytest.raises(IdempotencyConflict):
        await service.open_portal(shop.at, organization_id=acme.id, return_url="https://shop.test/2", once="a")
    with pytest.raises(InvalidRequest):
        await service.open_portal(shop.at, organization_id=acme.id, return_url="http://shop.test", once="b")


async def test_an_organization_is_one_customer_however_often_the_answer_is_lost(shop: Shop) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(Kind.LOST_AFTER, "POST /v1/customers")
    with pytest.raises(StripeUnsure):
        await customer_of(shop, acme)

    assert await customer_of(shop, acme) == await customer_of(shop, acme)
    assert len(shop.double.every("customer")) == 1


async def test_after_a_day_a_lost_customer_is_looked_for(shop: Shop) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(Kind.LOST_AFTER, "POST /v1/customers")
    with pytest.raises(StripeUnsure):
        await customer_of(shop, acme)
    await shop.pass_time(timedelta(days=2))

    assert await customer_of(shop, acme) == shop.double.every("customer")[0]["id"]
    assert len(shop.double.every("customer")) == 1


@pytest.mark.parametrize("kind", [Kind.FAILS, Kind.FAILS_AFTER])
async def test_a_failure_that_stripe_keeps_does_not_stand_in_the_way(shop: Shop, kind: Kind) -> None:
    acme = await shop.an_organization()
    shop.double.faults.plan(kind, "POST /v1/customers")
    with pytest.raises(StripeBusy):
        await customer_of(shop, acme)

    assert await customer_of(shop, acme) == shop.double.every("customer")[0]["id"]


async def test_another_organizations_customer_is_never_taken(shop: Shop) -> None:
    acme, other = await shop.an_organization(), await shop.an_organization()
    customer = await customer_of(shop, acme)
    shop.double.faults.answer_with(lambda thing: {**thing, "id": customer}, "POST /v1/customers")

    with pytest.raises(NotTheirs):
        await customer_of(shop, other)
    assert await customer_of(shop, other) not in {customer, ""}


async def test_nobody_is_nobodys_customer(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await customers.ensure(shop.at, organization_id=OrganizationId(UUID(int=7)))


async def test_what_a_deleted_customer_stored_is_gone(shop: Shop) -> None:
    acme = await shop.an_organization()
    page = await set_up(shop, acme, "a")
    shop.double.complete(page)
    shop.double.delete_customer(await customer_of(shop, acme))
    await shop.hear()

    assert await service.current(shop.at, organization_id=acme.id) is None
