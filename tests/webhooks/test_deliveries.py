"""Every event reaches every endpoint that wants it, at least once, and no endpoint is in the way of another."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from tests.webhooks.post_office import KEY, PostOffice, states_of, verified
from tests.webhooks.receiver import Receiver, saying

from tollgate.infra.http_client import HttpClient
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.kit.ids import EventId, typed
from tollgate.webhooks import service, tasks
from tollgate.webhooks.model import DeliveryState, DisabledBecause, EventType, Outbox
from tollgate.webhooks.tasks import Post


async def test_an_event_is_sent_signed_to_every_endpoint_that_wants_it(office: PostOffice, server: Receiver) -> None:
    owner, stranger = await office.an_owner(), await office.an_owner()
    everything = await office.a_webhook(owner, server.url + "?all")
    some = await office.a_webhook(owner, server.url + "?some", types=(EventType.INVOICE_PAID, EventType.CREDITS_LOW))
    await office.a_webhook(owner, server.url + "?other", types=(EventType.KEY_REVOKED,))
    await office.a_webhook(owner, server.url + "?off", disabled=True)
    await office.a_webhook(stranger, server.url + "?stranger")

    event = await office.tell(owner, number="A-1", total="12.00")
    assert await office.send() == 2

    assert {each.target for each in server.arrived} == {"/hook?all", "/hook?some"}
    for arrived in server.arrived:
        secret = everything.secret if arrived.target.endswith("all") else some.secret
        assert verified(arrived, secret, at=office.clock.at) == {
            "id": typed("evt", event.id),
            "type": "invoice.paid",
            "created_at": event.occurred_at.isoformat().replace("+00:00", "Z"),
            "organization": typed("org", owner),
            "data": {"number": "A-1", "total": "12.00"},
        }
    [delivery] = await office.deliveries(everything)
    assert (delivery.state, delivery.attempts, delivery.next_at) == (DeliveryState.DELIVERED, 1, None)
    assert delivery.last is not None
    assert (delivery.last.status, delivery.last.answer) == (200, "ok")
    assert await office.later(timedelta(days=4)) == 0


async def test_an_event_told_twice_is_sent_once_and_one_taken_back_never(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    await office.a_webhook(owner, server.url)
    event = await office.tell(owner)
    async with office.database.write() as session:
        await service.emit(session, event)
    async with office.database.write() as session:
        await service.emit(session, replace(event, id=EventId(UUID(int=9))))
        await session.rollback()
    assert await office.send() == 1


async def test_what_fails_comes_again_under_the_same_id_until_it_is_taken(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url)
    event = await office.tell(owner)
    server.answers = [500, 302, 404]

    tried = [await office.send()]
    tried += [await office.later(timedelta(seconds=seconds)) for seconds in (9, 1, 19, 1, 39, 1, 1000)]

    assert tried == [1, 0, 1, 0, 1, 0, 1, 0]
    assert {each.headers["tollgate-event-id"] for each in server.arrived} == {typed("evt", event.id)}
    assert len({each.body for each in server.arrived}) == 1
    assert await states_of(office, minted) == [(DeliveryState.DELIVERED, 4)]


async def test_after_72_hours_it_is_given_up_and_can_be_asked_for_again(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url)
    await office.tell(owner)
    server.answering = saying(503, b"try whsec-later")
    while await office.send():
        [delivery] = await office.deliveries(minted)
        office.clock.at = delivery.next_at or office.clock.at

    [delivery] = await office.deliveries(minted)
    assert delivery.state is DeliveryState.FAILED
    assert office.clock.at - delivery.first_at == timedelta(hours=72)
    assert delivery.last is not None
    assert (delivery.last.status, delivery.last.answer) == (503, "try …")
    assert len(server.arrived) == delivery.attempts > 20

    server.answering = None
    scope = (owner, minted.webhook.id)
    async with office.database.write() as session:
        await service.replay_one(session, scope=scope, delivery_id=delivery.id, now=office.clock.now())
    assert await office.send() == 1
    assert await states_of(office, minted) == [(DeliveryState.DELIVERED, 1)]


async def test_an_endpoint_that_is_gone_is_left_alone(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url)
    for _ in range(3):
        await office.tell(owner)
    server.answering = saying(410)
    await office.pool.execute("UPDATE webhooks SET failing_since = now() WHERE id = $1", minted.webhook.id)
    assert await office.send() == 1

    assert sorted(await states_of(office, minted)) == [
        (DeliveryState.DROPPED, 0),
        (DeliveryState.DROPPED, 0),
        (DeliveryState.FAILED, 1),
    ]
    async with office.database.read() as session:
        webhook = await service.get(session, organization_id=owner, webhook_id=minted.webhook.id)
    assert webhook.disabled_because is DisabledBecause.GONE
    await office.tell(owner)
    assert await office.later(timedelta(days=1)) == 0


async def test_disabled_means_nothing_more_is_sent_and_all_of_it_can_be_sent_later(
    office: PostOffice, server: Receiver
) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url, types=(EventType.INVOICE_PAID,))
    since = (await office.tell(owner)).occurred_at - timedelta(hours=1)
    await office.edit(minted, disabled_because=DisabledBecause.ASKED)
    await office.tell(owner)
    await office.tell(owner, EventType.CREDITS_LOW)
    assert await office.later(timedelta(hours=1)) == 0

    await office.edit(minted, disabled_because=None)
    async with office.database.write() as session:
        scope = (owner, minted.webhook.id)
        assert await service.replay_since(session, scope=scope, since=since, now=office.clock.now()) == 2
        assert await service.replay_since(session, scope=scope, since=since, now=office.clock.now()) == 0
    assert await office.send() == 2
    assert await states_of(office, minted) == [(DeliveryState.DELIVERED, 1)] * 2


async def test_an_endpoint_that_was_removed_while_its_event_was_told_is_not_sent_to(
    office: PostOffice, server: Receiver
) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url)
    await office.tell(owner)
    await office.pool.execute("DELETE FROM webhooks WHERE id = $1", minted.webhook.id)
    await office.tell(owner)
    assert await office.send() == 0
    states = await office.pool.fetch("SELECT state FROM webhook_deliveries WHERE webhook_id = $1", minted.webhook.id)
    assert [row["state"] for row in states] == ["dropped"]


async def test_both_secrets_sign_for_a_day_after_a_rotation(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    first = await office.a_webhook(owner, server.url)
    async with office.database.write() as session:
        second = await service.rotate(
            session, organization_id=owner, webhook_id=first.webhook.id, seal=office.seal, now=office.clock.now()
        )
    await office.tell(owner)
    await office.send()
    verified(server.arrived[-1], first.secret, at=office.clock.at)
    verified(server.arrived[-1], second.secret, at=office.clock.at)

    office.clock.at += timedelta(hours=24)
    await office.tell(owner)
    await office.send()
    verified(server.arrived[-1], second.secret, at=office.clock.at)
    with pytest.raises(AssertionError):
        verified(server.arrived[-1], first.secret, at=office.clock.at)


async def test_who_cannot_read_the_secret_sends_nothing_and_tries_again(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    minted = await office.a_webhook(owner, server.url)
    await office.tell(owner)
    other = Seal(replace(KEY, sealing_key="another key of thirty-two characters"))
    post = Post(office.database, office.clock, HttpClient(Reach(_nowhere, private=True)), other)
    assert await office.send(post) == 1

    assert server.arrived == []
    [delivery] = await office.deliveries(minted)
    assert delivery.state is DeliveryState.PENDING
    assert delivery.last is not None
    assert "secret" in (delivery.last.error or "")


async def test_a_name_that_has_come_to_lead_inside_gets_nothing(office: PostOffice, server: Receiver) -> None:
    async def rebound(name: str) -> tuple[str, ...]:
        del name
        return ("127.0.0.1",)

    owner = await office.an_owner()
    minted = await office.a_webhook(owner, f"https://hooks.example.com:{server.port}/")
    await office.tell(owner)
    post = Post(office.database, office.clock, HttpClient(Reach(rebound, private=False)), office.seal)
    await office.send(post)

    assert server.arrived == []
    [delivery] = await office.deliveries(minted)
    assert delivery.last is not None
    assert delivery.last.error == "hooks.example.com is not on the public network."


async def test_what_is_old_is_forgotten_but_not_while_it_is_being_sent(office: PostOffice) -> None:
    owner = await office.an_owner()
    waiting = await office.a_webhook(owner, "https://hooks.example.com/", types=(EventType.INVOICE_PAID,))
    kept = await office.tell(owner)
    await office.tell(owner, EventType.CREDITS_LOW)
    ours = "SELECT id FROM events WHERE organization_id = $1"

    for passed, left in ((timedelta(days=29), 2), (timedelta(days=1), 1)):
        office.clock.at += passed
        await tasks.drop_old(office.database, office.clock)
        assert len(await office.pool.fetch(ours, owner)) == left
    assert [row["id"] for row in await office.pool.fetch(ours, owner)] == [kept.id]

    await office.edit(waiting, disabled_because=DisabledBecause.ASKED)
    assert await tasks.drop_old(office.database, office.clock) >= 1
    assert await office.pool.fetch(ours, owner) == []
    assert await office.deliveries(waiting) == []


async def test_the_outbox_tells_how_long_what_is_due_has_waited(office: PostOffice, server: Receiver) -> None:
    owner = await office.an_owner()
    await office.a_webhook(owner, server.url)
    await office.tell(owner)
    async with office.database.read() as session:
        waits = await service.outbox(session)
    assert waits.pending == 1
    assert waits.due_since is not None
    assert timedelta(minutes=14) < office.clock.at - waits.due_since < timedelta(minutes=16)
    await office.send()
    async with office.database.read() as session:
        assert await service.outbox(session) == Outbox(0, None)


async def test_events_never_change(office: PostOffice) -> None:
    event = await office.tell(await office.an_owner())
    with pytest.raises(asyncpg.RestrictViolationError):
        await office.pool.execute("UPDATE events SET data = '{}' WHERE id = $1", event.id)


async def _nowhere(name: str) -> tuple[str, ...]:
    del name
    return ()
