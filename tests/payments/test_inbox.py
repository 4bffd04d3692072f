"""The inbox: each event once, acted on in any order until it is done, and nothing in it that was only claimed."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from tests.payments.shop import Shop
from tests.payments.stripe_double import Kind, sign

from tollgate.payments import tasks
from tollgate.payments.model import StripeEvent
from tollgate.payments.service import inbox
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient


async def rows(shop: Shop, *events: dict[str, Any]) -> list[Any]:
    """(processed?, attempts, error) of these events, in order."""
    wanted = sa.text(
        "SELECT processed_at IS NOT NULL AS done, attempts, error FROM stripe_events WHERE id = ANY (:ids) ORDER BY id"
    )
    async with shop.database.read() as session:
        found = await session.execute(wanted, {"ids": [event["id"] for event in events]})
        return [tuple(row) for row in found]


async def test_an_event_is_kept_once_and_acted_on_once(shop: Shop) -> None:
    top_up = await shop.opened(await shop.an_organization())
    shop.double.complete(top_up.session_id or "")
    event = shop.double.world.events[-1]
    seen: list[StripeEvent] = []

    async def handle(_: Surroundings, told: StripeEvent) -> None:
        seen.append(told)
        await asyncio.sleep(0.01)

    await shop.double.deliver(shop.receive, [event] * 3)
    asked = [inbox.process(shop.at, {event["type"]: handle}, event_id=event["id"]) for _ in range(4)]

    assert await asyncio.gather(*asked) == [True] * 4
    assert [(told.type, told.object_id) for told in seen] == [("checkout.session.completed", top_up.session_id)]
    assert await rows(shop, event) == [(True, 1, None)]


async def test_an_event_that_cannot_be_acted_on_is_tried_again_later(shop: Shop) -> None:
    top_up = await shop.opened(await shop.an_organization())
    shop.double.complete(top_up.session_id or "")
    shop.double.faults.plan(Kind.TOO_MANY, "GET /v1/checkout/sessions/")
    await shop.hear()
    event = shop.double.world.events[-1]

    assert await rows(shop, event) == [(False, 1, "StripeBusy: Stripe could not do it now (status 429).")]
    async with shop.database.read() as session:
        assert event["id"] not in await inbox.due(session, now=shop.clock.now(), count=9)
    await shop.pass_time(timedelta(seconds=10))
    assert await rows(shop, event) == [(True, 2, None)]


async def test_what_nobody_acts_on_is_done_at_once(shop: Shop) -> None:
    customer = await shop.at.stripe.create_customer(name="Acme", metadata={}, key="c")
    shop.double.delete_customer(customer.id)
    created, deleted = shop.double.world.events
    await shop.hear()

    assert await rows(shop, created, deleted) == [(True, 1, None)] * 2


async def test_a_page_of_somebody_elses_is_left_alone(shop: Shop) -> None:
    top_up = await shop.opened(await shop.an_organization())
    page = shop.double.every("checkout.session")[0]
    page["metadata"] = {"organization": "org_1", "order": "17"}
    shop.double.complete(top_up.session_id or "")
    await shop.hear()

    assert (await shop.now(top_up)).status == "open"
    assert await rows(shop, shop.double.world.events[-1]) == [(True, 1, None)]


async def test_an_event_of_the_other_mode_is_refused(shop: Shop) -> None:
    live = {
        "id": "evt_live", "object": "event", "type": "invoice.paid", "created": 1, "livemode": True,
        "data": {"object": {"id": "in_1"}},
    }  # fmt: skip
    payload = json.dumps(live).encode()

    assert await shop.receive(payload, sign(payload, shop.double.world.seconds)) == 400
    assert await rows(shop, live) == []
    for_real = replace(shop, at=replace(shop.at, stripe=StripeClient("sk_live_1", webhook_secrets=("whsec_double",))))
    assert await for_real.receive(payload, sign(payload, shop.double.world.seconds)) == 200
    assert len(await rows(shop, live)) == 1


async def test_old_events_are_forgotten_once_they_are_done(shop: Shop) -> None:
    await shop.at.stripe.create_customer(name="Acme", metadata={}, key="c")
    (done,) = shop.double.world.events
    await shop.hear()
    waiting = {**done, "id": done["id"] + "9"}
    await shop.double.deliver(shop.receive, [waiting])
    shop.clock.at += inbox.KEPT_FOR + timedelta(seconds=1)

    await tasks.forget_events(shop.database, shop.clock)

    assert await rows(shop, done) == []
    assert len(await rows(shop, waiting)) == 1
