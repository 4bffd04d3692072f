"""What we keep of payments ourselves: top-ups, who is who at Stripe, and the events that Stripe told of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tollgate.kit import money
from tollgate.kit.ids import GrantId, KeyId, OrganizationId, TopUpId


class TopUpStatus(StrEnum):
    """Opening → open → (processing) → paid, expired or failed; parked is for a person to look at."""

    OPENING = "opening"
    """The page at Stripe is not there yet, or we do not know of it."""
    OPEN = "open"
    """The page waits for the customer."""
    PROCESSING = "processing"
    """The customer did their part, and the money is on its way."""
    PAID = "paid"
    """Stripe confirmed the payment, and the credit was granted."""
    EXPIRED = "expired"
    """Nobody paid while the page was there."""
    FAILED = "failed"
    """The page could not be opened, or the money did not arrive."""
    PARKED = "parked"
    """What Stripe says does not fit what was asked for: nothing is credited before a person looked at it."""

    @property
    def is_waiting(self) -> bool:
        """Whether it may still be paid."""
        return self in {TopUpStatus.OPENING, TopUpStatus.OPEN, TopUpStatus.PROCESSING}


@dataclass(frozen=True, slots=True)
class TopUp:
    """Credit that an organization wants to buy on a page at Stripe."""

    organization_id: OrganizationId
    id: TopUpId
    amount: Decimal
    """What is credited."""
    tax: Decimal
    """What is paid on top."""
    currency: str
    status: TopUpStatus
    reason: str | None
    """Why it failed or is parked."""
    success_url: str
    cancel_url: str
    customer_id: str | None
    """Whom the page was, or is to be, opened for."""
    attempt: int
    """How many idempotency keys it took to open the page; each names the next."""
    session_id: str | None
    url: str | None
    payment_intent_id: str | None
    grant_id: GrantId | None
    once_key: bytes | None
    """The digest of the request's idempotency key."""
    once_request: bytes | None
    """The digest of what that request said."""
    tries: int
    """How often it was looked after in vain; decides when it is again."""
    next_at: datetime | None
    """When to look after it; `None` once nothing more happens by itself."""
    created_at: datetime
    created_by: KeyId | None
    expires_at: datetime
    """When the page ends."""
    closed_at: datetime | None

    @property
    def total(self) -> Decimal:
        """What is to be paid."""
        return money.EXACT.add(self.amount, self.tax)


@dataclass(frozen=True, slots=True)
class TopUpOrder:
    """What a customer asks for."""

    amount: Decimal
    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class CustomerLink:
    """Which customer at Stripe an organization is. The newest generation counts; one that was deleted is replaced."""

    organization_id: OrganizationId
    generation: int
    customer_id: str | None
    """`None` until Stripe has told us."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event that Stripe told us of: what it is about, and whether we have acted on it."""

    id: str
    type: str
    object_id: str
    is_live: bool
    created_at: datetime
    received_at: datetime
    processed_at: datetime | None
    attempts: int
    next_at: datetime
    error: str | None
    """What went wrong the last time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a page at Stripe means for its top-up."""

    status: TopUpStatus
    reason: str | None = None
    payment_intent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """Where Stripe's pages send the customer back to."""

    success_url: str
    cancel_url: str


FINAL: Sequence[TopUpStatus] = (TopUpStatus.PAID, TopUpStatus.EXPIRED, TopUpStatus.FAILED)
"""Nothing follows them."""
