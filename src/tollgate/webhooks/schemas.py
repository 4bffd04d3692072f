"""The API shapes of webhooks, of what is told, and of what an endpoint is sent."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tollgate.infra.web import Body, Instant, Paging
from tollgate.kit.ids import typed
from tollgate.webhooks.model import (
    Delivery,
    DeliveryState,
    DisabledBecause,
    Event,
    EventType,
    MintedWebhook,
    NewWebhook,
    Outcome,
    ToldEvent,
    Webhook,
)

_Types = Annotated[tuple[EventType, ...], msgspec.Meta(min_length=1, max_length=len(EventType))]


class CreateWebhook(Body, kw_only=True, frozen=True):
    """An endpoint to be told at; without types, of every event."""

    url: str
    types: _Types | None = None
    description: str | None = None
    disabled: bool = False

    def order(self) -> NewWebhook:
        return NewWebhook(self.url, _distinct(self.types), self.description or "", self.disabled)


class ChangeWebhook(Body, kw_only=True, frozen=True):
    """What to change of an endpoint; types of `null` are all of them."""

    url: str | UnsetType = UNSET
    types: _Types | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET

    def applied_to(self, webhook: Webhook) -> Webhook:
        because = webhook.disabled_because
        if self.disabled is not UNSET:
            because = (because or DisabledBecause.ASKED) if self.disabled else None
        return replace(
            webhook,
            url=webhook.url if self.url is UNSET else self.url,
            types=webhook.types if self.types is UNSET else _distinct(self.types),
            description=webhook.description if self.description is UNSET else self.description,
            disabled_because=because,
        )


class Replay(Body, kw_only=True, frozen=True):
    """From when on to send everything again."""

    since: Instant


class ListDeliveries(Paging, kw_only=True, frozen=True):
    """Which deliveries to list."""

    status: tuple[DeliveryState, ...] = ()


class ListEvents(Paging, kw_only=True, frozen=True):
    """Which events to list."""

    type: tuple[EventType, ...] = ()


class WebhookView(Struct, kw_only=True, frozen=True):
    """An endpoint as the API shows it: everything but its secret."""

    id: str
    url: str
    types: tuple[EventType, ...] | None
    description: str
    disabled: bool
    disabled_because: DisabledBecause | None
    """`asked`, or `gone`: it answered 410."""
    failing_since: datetime | None
    previous_secret_until: datetime | None
    """Until when the secret before the last rotation signs as well."""
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookView":
        return cls(
            id=typed("whk", webhook.id),
            url=webhook.url,
            types=webhook.types,
            description=webhook.description,
            disabled=webhook.disabled_because is not None,
            disabled_because=webhook.disabled_because,
            failing_since=webhook.failing_since,
            previous_secret_until=webhook.previous_until,
            created_at=webhook.created_at,
        )


class MintedWebhookView(Struct, kw_only=True, frozen=True):
    """An endpoint with its secret, which is shown this once."""

    data: WebhookView
    secret: str

    @classmethod
    def of(cls, minted: MintedWebhook) -> "MintedWebhookView":
        return cls(data=WebhookView.of(minted.webhook), secret=minted.secret)


class AttemptView(Struct, kw_only=True, frozen=True):
    """What the last attempt came to."""

    at: datetime
    status: int | None
    """What the endpoint answered; `null` if it did not."""
    error: str | None
    """Why there was no answer."""
    answer: str
    """The beginning of what it answered."""
    milliseconds: int

    @classmethod
    def of(cls, at: datetime, outcome: Outcome) -> "AttemptView":
        return cls(
            at=at,
            status=outcome.status,
            error=outcome.error,
            answer=outcome.answer,
            milliseconds=outcome.milliseconds,
        )


class DeliveryView(Struct, kw_only=True, frozen=True):
    """One event on its way to one endpoint."""

    id: str
    webhook: str
    event: str
    type: EventType
    status: DeliveryState
    attempts: int
    """Since it was due first, or was last asked for again."""
    first_at: datetime
    next_at: datetime | None
    """When it is tried again, or given up on by whoever tries it now; `null` once nothing more is tried."""
    last: AttemptView | None

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryView":
        last = None
        if delivery.tried_at is not None and delivery.last is not None:
            last = AttemptView.of(delivery.tried_at, delivery.last)
        return cls(
            id=typed("dlv", delivery.id),
            webhook=typed("whk", delivery.webhook_id),
            event=typed("evt", delivery.event_id),
            type=delivery.type,
            status=delivery.state,
            attempts=delivery.attempts,
            first_at=delivery.first_at,
            next_at=delivery.next_at,
            last=last,
        )


class ReplayedView(Struct, kw_only=True, frozen=True):
    """How many deliveries are sent again."""

    replayed: int


class EventView(Struct, kw_only=True, frozen=True):
    """An event, as it is listed and as it is sent."""

    id: str
    type: EventType
    created_at: datetime
    """When it happened."""
    organization: str
    data: Mapping[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventView":
        return cls(
            id=typed("evt", event.id),
            type=event.type,
            created_at=event.occurred_at.astimezone(UTC),
            organization=typed("org", event.organization_id),
            data=event.data,
        )

    @classmethod
    def of_told(cls, told: ToldEvent) -> "EventView":
        return cls.of(told.event)


def wire(event: Event) -> bytes:
    """The body that an endpoint is sent: the same bytes at every attempt."""
    return msgspec.json.encode(EventView.of(event))


def _distinct(types: tuple[EventType, ...] | None) -> tuple[EventType, ...] | None:
    return None if types is None else tuple(dict.fromkeys(types))
