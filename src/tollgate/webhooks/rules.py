"""The decisions of webhooks that need no database."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from tollgate.kit.ids import EventId, OrganizationId, derived_id
from tollgate.webhooks.model import Event, EventType


def event(
    organization_id: OrganizationId, cause: UUID, kind: EventType, data: Mapping[str, object], *, now: datetime
) -> Event:
    """The event of this type that `cause` (an invoice, a payment, a key, …) brings about: one, however often."""
    return Event(organization_id, EventId(derived_id(cause, f"event:{kind}")), kind, data, now)
