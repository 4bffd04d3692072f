"""Events as values: what happened, to whom, and when; who wants to hear of it; and what became of telling them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tollgate.kit.ids import DeliveryId, EventId, KeyId, OrganizationId, WebhookId


class EventType(StrEnum):
    """What can be told of. Never to be renamed: endpoints are written against these words."""

    INVOICE_FINALISED = "invoice.finalised"
    INVOICE_PAID = "invoice.paid"
    INVOICE_PAST_DUE = "invoice.past_due"
    INVOICE_PAYMENT_FAILED = "invoice.payment_failed"
    INVOICE_VOIDED = "invoice.voided"
    INVOICE_UNCOLLECTIBLE = "invoice.uncollectible"
    CREDIT_NOTE_ISSUED = "credit_note.issued"
    LIMIT_THRESHOLD = "limit.threshold"
    CREDITS_LOW = "credits.low"
    TOP_UP_PAID = "top_up.paid"
    KEY_REVOKED = "key.revoked"
    CALL_UNPRICED = "call.unpriced"
    ORGANIZATION_SUSPENDED = "organization.suspended"
    RERATE_APPLIED = "rerate.applied"
    WEBHOOK_TEST = "webhook.test"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Its id follows from what caused it, so what happened once is told once."""

    organization_id: OrganizationId
    id: EventId
    type: EventType
    data: Mapping[str, object]
    """What is told of it: JSON values only, with money as decimal strings and ids as typed text."""
    occurred_at: datetime


class DisabledBecause(StrEnum):
    """Why nothing is sent to an endpoint."""

    ASKED = "asked"
    """Its organization said so."""
    GONE = "gone"
    """It answered 410: it is not there any more."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint that an organization is told of events at."""

    organization_id: OrganizationId
    id: WebhookId
    url: str
    types: tuple[EventType, ...] | None
    """Which events; `None` is every one, those to come included."""
    description: str
    disabled_because: DisabledBecause | None
    failing_since: datetime | None
    """Since when no attempt has succeeded; `None` if the last one did."""
    previous_until: datetime | None
    """Until when the secret before the last rotation signs as well."""
    created_at: datetime
    created_by: KeyId | None


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event as it was written down."""

    event: Event
    recorded_at: datetime
    """When it was told, which may be after it happened; lists are in this order."""


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What is decided when an endpoint is entered."""

    url: str
    types: tuple[EventType, ...] | None = None
    description: str = ""
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class MintedWebhook:
    """An endpoint together with its secret: the only moment that its owner is shown it."""

    webhook: Webhook
    secret: str


class DeliveryState(StrEnum):
    """What became of telling one endpoint of one event."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""
    DROPPED = "dropped"
    """Not sent, because the endpoint was disabled or removed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to."""

    status: int | None
    """What the endpoint answered; `None` if it did not."""
    error: str | None
    """Why there was no answer."""
    answer: str
    """The beginning of what it answered."""
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint."""

    organization_id: OrganizationId
    id: DeliveryId
    webhook_id: WebhookId
    event_id: EventId
    type: EventType
    state: DeliveryState
    attempts: int
    first_at: datetime
    """When it was due first, or was asked for again: from then on it is tried for so long."""
    next_at: datetime | None
    tried_at: datetime | None
    last: Outcome | None


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery that this process has taken upon itself to try now, with all that it takes."""

    event: Event
    delivery_id: DeliveryId
    webhook_id: WebhookId
    url: str
    secrets: tuple[bytes, ...]
    """Sealed: the present one, and the one before as long as it is good."""
    attempt: int
    """Which attempt it is, from 1."""
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Fate:
    """What follows for a delivery from what an attempt came to."""

    state: DeliveryState
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """What waits to be sent."""

    pending: int
    due_since: datetime | None
    """When the delivery was due that has waited longest; `None` if nothing waits."""
