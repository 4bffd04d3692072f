"""Events as values: what happened, to whom, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tollgate.kit.ids import EventId, OrganizationId


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


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Its id follows from what caused it, so what happened once is told once."""

    organization_id: OrganizationId
    id: EventId
    type: EventType
    data: Mapping[str, object]
    """What is told of it: JSON values only, with money as decimal strings and ids as typed text."""
    occurred_at: datetime
