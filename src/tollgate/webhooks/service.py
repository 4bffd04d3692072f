"""Use cases of webhooks: tell of what happened, and say who wants to hear of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from tollgate.infra import identity, jobs
from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.infra.names import Reach
from tollgate.infra.sealing import Seal
from tollgate.kit.errors import Conflict, NotFound, Unavailable
from tollgate.kit.ids import DeliveryId, KeyId, OrganizationId, WebhookId, typed
from tollgate.webhooks import rules
from tollgate.webhooks.model import (
    Delivery,
    DeliveryState,
    DisabledBecause,
    Event,
    EventType,
    MintedWebhook,
    NewWebhook,
    Outbox,
    ToldEvent,
    Webhook,
)
from tollgate.webhooks.store import deliveries as queue
from tollgate.webhooks.store import endpoints as store
from tollgate.webhooks.store import events as told

DELIVER_JOB = "deliver-webhooks"
"""Sends what is due; its subject is an organization of which something is. The database asks for it with each event."""
KEPT_FOR = timedelta(days=30)
"""How long events and deliveries can be read and replayed."""
_DROPPED_AT_ONCE = 1000
_ASKED_FOR_AT_ONCE = 8
_Thing = TypeVar("_Thing")


async def emit(session: WriteSession, event: Event) -> None:
    """Tell of the event, if this transaction commits; telling of it again changes nothing.

    Every endpoint of the organization that wants it gets a delivery in this very transaction.
    """
    await told.add_event(session, event)


async def events(
    session: ReadSession,
    *,
    organization_id: OrganizationId,
    types: Sequence[EventType],
    before: UUID | None,
    count: int,
) -> list[ToldEvent]:
    """The organization's events told before that one, latest first; of any type if none is named."""
    return await told.events(session, organization_id=organization_id, types=types, before=before, count=count)


async def check_whereabouts(url: str, *, reach: Reach) -> None:
    """Refuse an address that leads outside the public network, before a transaction waits for its name.

    A name that leads nowhere passes: it may not be known yet. Every delivery asks again.

    Raises:
        InvalidRequest: it does, or is no address.
    """
    rules.check_webhook(NewWebhook(url), private=reach.private)
    if not reach.private:
        name = rules.host_of(url)
        rules.check_addresses(name, await reach.resolve(name))


async def create(
    session: WriteSession,
    *,
    order: NewWebhook,
    owner: tuple[OrganizationId, KeyId],
    seal: Seal,
    private: bool,
    now: datetime,
) -> MintedWebhook:
    """Enter an endpoint: it is told of what happens from now on. The owner is an organization, by one of its keys.

    Raises:
        InvalidRequest: something about it cannot be; `field` names the part.
        Conflict: the organization has as many as it may.
        Unavailable: this host seals with another key than the others.
    """
    rules.check_webhook(order, private=private)
    await store.lock(session, owner[0])
    if await store.count(session, owner[0]) >= rules.WEBHOOKS_MAX:
        raise Conflict(f"An organization has at most {rules.WEBHOOKS_MAX} webhooks.")
    webhook = Webhook(
        organization_id=owner[0],
        id=WebhookId(identity.new_id(now)),
        url=order.url,
        types=order.types,
        description=order.description,
        disabled_because=DisabledBecause.ASKED if order.disabled else None,
        failing_since=None,
        previous_until=None,
        created_at=now,
        created_by=owner[1],
    )
    secret, sealed = await _new_secret(session, webhook, seal)
    await store.add(session, webhook, secret=sealed)
    return MintedWebhook(webhook, secret)


async def get(session: ReadSession, *, organization_id: OrganizationId, webhook_id: WebhookId) -> Webhook:
    """The organization's endpoint.

    Raises:
        NotFound: it has none with this id.
    """
    return _found(await store.webhook(session, organization_id=organization_id, webhook_id=webhook_id), "webhook")


async def list_webhooks(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[Webhook]:
    """The organization's endpoints entered before that one, newest first."""
    return await store.webhooks(session, organization_id=organization_id, before=before, count=count)


async def change(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    webhook_id: WebhookId,
    edit: Callable[[Webhook], Webhook],
    private: bool,
) -> Webhook:
    """Change url, types, description, or whether anything is sent. What waits for one that is disabled is given up.

    Raises:
        NotFound: the organization has no such endpoint.
        InvalidRequest: a new value cannot be.
    """
    before = await _held(session, organization_id, webhook_id)
    after = edit(before)
    if after.url != before.url or before.disabled_because is not None:
        after = replace(after, failing_since=None)
    # An address from before a permission was withdrawn stays until it is changed; deliveries to it are refused.
    rules.check_webhook(
        NewWebhook(after.url, after.types, after.description), private=private or after.url == before.url
    )
    await store.save(session, after)
    if after.disabled_because is not None:
        await queue.drop_pending(session, organization_id=organization_id, webhook_id=webhook_id)
    return after


async def remove(session: WriteSession, *, organization_id: OrganizationId, webhook_id: WebhookId) -> Webhook:
    """Forget an endpoint; what waits for it is given up.

    Raises:
        NotFound: the organization has no such endpoint.
    """
    webhook = await _held(session, organization_id, webhook_id)
    await queue.drop_pending(session, organization_id=organization_id, webhook_id=webhook_id)
    await store.remove(session, webhook)
    return webhook


async def rotate(
    session: WriteSession, *, organization_id: OrganizationId, webhook_id: WebhookId, seal: Seal, now: datetime
) -> MintedWebhook:
    """Give the endpoint another secret; for a day the one before it signs as well.

    Raises:
        NotFound: the organization has no such endpoint.
        Unavailable: this host seals with another key than the others.
    """
    webhook = await _held(session, organization_id, webhook_id)
    secret, sealed = await _new_secret(session, webhook, seal)
    until = now + rules.SIGNED_BY_BOTH
    return MintedWebhook(await store.save_secret(session, webhook, secret=sealed, until=until), secret)


async def send_test(
    session: WriteSession, *, organization_id: OrganizationId, webhook_id: WebhookId, now: datetime
) -> Delivery:
    """Tell this endpoint alone of an event that means nothing; it is sent as every other is.

    Raises:
        NotFound: the organization has no such endpoint.
        Conflict: it is disabled.
    """
    webhook = await _awake(session, organization_id, webhook_id)
    data = {"webhook": f"whk_{webhook.id}"}
    event = rules.event(organization_id, identity.new_id(now), EventType.WEBHOOK_TEST, data, now=now)
    made = DeliveryId(await told.add_event_for(session, event, webhook_id))
    scope = (organization_id, webhook_id)
    return _found(await queue.delivery(session, scope=scope, delivery_id=made), "delivery")


async def deliveries(
    session: ReadSession,
    *,
    scope: tuple[OrganizationId, WebhookId],
    states: Sequence[DeliveryState],
    before: UUID | None,
    count: int,
) -> list[Delivery]:
    """What became of telling the organization's endpoint, latest first; in any state if none is named.

    Raises:
        NotFound: the organization has no such endpoint.
    """
    await get(session, organization_id=scope[0], webhook_id=scope[1])
    return await queue.deliveries(session, scope=scope, states=states, before=before, count=count)


async def replay_one(
    session: WriteSession, *, scope: tuple[OrganizationId, WebhookId], delivery_id: DeliveryId, now: datetime
) -> Delivery:
    """Send a delivery again, now, whatever became of it: the same event, under the same id.

    Raises:
        NotFound: the organization has no such endpoint, or that no such delivery.
        Conflict: the endpoint is disabled.
    """
    await _awake(session, *scope)
    delivery = _found(await queue.delivery(session, scope=scope, delivery_id=delivery_id), "delivery")
    await queue.make_due(session, delivery, now=now)
    await _ask(session, scope[0])
    return replace(delivery, state=DeliveryState.PENDING, attempts=0, first_at=now, next_at=now)


async def replay_since(
    session: WriteSession, *, scope: tuple[OrganizationId, WebhookId], since: datetime, now: datetime
) -> int:
    """Send all again that was told since then and that the endpoint wants, once it was told of it or not.

    What waits already is left alone. Answers how many deliveries that makes.

    Raises:
        NotFound: the organization has no such endpoint.
        Conflict: the endpoint is disabled.
    """
    await _awake(session, *scope)
    made = await queue.replay(session, organization_id=scope[0], webhook_id=scope[1], since=since, now=now)
    await _ask(session, scope[0])
    return made


async def ask_for_due(database: Database, *, now: datetime) -> None:
    """Ask for deliveries that are due, of some organizations: whoever sends one's sends everybody's.

    Each in a transaction of its own, so that this never waits for somebody who tells of several, and they for this.
    """
    async with database.read() as session:
        due = await queue.due(session, now=now, most=_ASKED_FOR_AT_ONCE)
    for organization_id in due:
        async with database.write() as session:
            await _ask(session, organization_id)


async def _ask(session: WriteSession, organization_id: OrganizationId) -> None:
    await jobs.enqueue(session, job=DELIVER_JOB, subject=typed("org", organization_id))


async def outbox(session: ReadSession) -> Outbox:
    """What waits to be sent, of all organizations."""
    return await queue.outbox(session)


async def drop_old(session: WriteSession, *, now: datetime) -> int:
    """Forget a batch of what was told so long ago that nobody asks for it; zero once there is none."""
    return await told.drop_events(session, before=now - KEPT_FOR, most=_DROPPED_AT_ONCE)


def sealed_for(organization_id: OrganizationId, webhook_id: WebhookId) -> bytes:
    """The owner that an endpoint's secrets are sealed for."""
    return b"webhook" + organization_id.bytes + webhook_id.bytes


async def _new_secret(session: WriteSession, webhook: Webhook, seal: Seal) -> tuple[str, bytes]:
    if await store.seal_fingerprint(session, seal.fingerprint) != seal.fingerprint:
        raise Unavailable(
            "This host seals secrets with another key than the installation's, so others could not send. "
            "Set TOLLGATE_SEALING_KEY alike on every host."
        )
    secret = rules.secret_text(identity.new_secret())
    return secret, seal.seal(secret.encode(), owner=sealed_for(webhook.organization_id, webhook.id))


async def _held(session: WriteSession, organization_id: OrganizationId, webhook_id: WebhookId) -> Webhook:
    found = await store.webhook(session, organization_id=organization_id, webhook_id=webhook_id, lock=True)
    return _found(found, "webhook")


async def _awake(session: WriteSession, organization_id: OrganizationId, webhook_id: WebhookId) -> Webhook:
    webhook = await _held(session, organization_id, webhook_id)
    if webhook.disabled_because is not None:
        raise Conflict("This webhook is disabled: nothing is sent to it. Enable it first.")
    return webhook


def _found(thing: _Thing | None, noun: str) -> _Thing:
    if thing is None:
        raise NotFound(f"There is no such {noun}.")
    return thing
