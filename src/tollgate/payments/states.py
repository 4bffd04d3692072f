"""What we keep of money at Stripe: invoices to collect, refunds, disputes, movements of the balance, and comparisons.

Our rows are the truth, and Stripe's objects their mirror; each row says what is to happen next, and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from tollgate.kit import money
from tollgate.kit.ids import InvoiceId, KeyId, OrganizationId, TopUpId


class CollectionMode(StrEnum):
    """How an organization's invoices are collected."""

    AUTOMATIC = "automatic"
    """Taken from the payment method that it stored."""
    SEND = "send"
    """Asked for: the customer pays on a page of Stripe's."""
    NONE = "none"
    """Not by Stripe."""


class CollectionState(StrEnum):
    """Where the collection of an invoice stands."""

    OPEN = "open"
    """Something is due; what is done next, and when, follows from what we and Stripe know."""
    DONE = "done"
    """Nothing is due any more, or it was given up."""
    PARKED = "parked"
    """Something contradicts our invoice: a person has to look."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """What we know of the invoice at Stripe that mirrors ours."""

    revision: int = 0
    """Counts those that were given up and made again; it is part of the idempotency keys."""
    begun_at: datetime | None = None
    """When we first asked for it: from then on it may be there."""
    customer_id: str | None = None
    invoice_id: str | None = None
    amount: Decimal | None = None
    """What it asks for: what was due when it was made."""
    filled_at: datetime | None = None
    """When all of its lines were there."""


@dataclass(frozen=True, slots=True)
class Dunning:
    """What was tried, and what the customer was told."""

    attempts: int = 0
    """Tries to take the money that were begun."""
    failures: int = 0
    """Those that came to nothing. One less than begun: the outcome of the last is not known."""
    first_failed_at: datetime | None = None
    last_attempt_at: datetime | None = None
    past_due_at: datetime | None = None
    """When it was told that the invoice is past due."""
    suspended_at: datetime | None = None
    """When the organization was to be suspended for it: once an invoice."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One invoice to collect."""

    organization_id: OrganizationId
    invoice_id: InvoiceId
    state: CollectionState
    mirror: Mirror
    dunning: Dunning
    next_at: datetime
    created_at: datetime
    updated_at: datetime
    errors: int = 0
    """Steps in a row that could not be done: Stripe was away, or refused."""
    last_error: str | None = None
    parked_reason: str | None = None
    is_asked: bool = False
    """The operator wants the money taken now."""
    version: int = 0
    """Moves with every change: who was overtaken by another notices."""


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """What is set for one organization."""

    organization_id: OrganizationId
    mode: CollectionMode | None = None
    """`None`: automatic if it has stored a payment method, and otherwise asked for."""
    suspended_at: datetime | None = None
    """Since when it is suspended because it did not pay; `None` if it is not, or for another reason."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to whoever does not pay."""

    retry_days: tuple[int, ...] = (1, 3, 5, 7)
    """On which days after the first failure the money is tried to be taken again."""
    suspend_after_days: int | None = None
    """How many days after it was due an unpaid invoice suspends the organization; `None` is never."""


class RefundStatus(StrEnum):
    """Where a refund stands."""

    REQUESTED = "requested"
    """To be sent to Stripe."""
    SENT = "sent"
    """The money has left our balance at Stripe, and may come back if the customer's bank refuses it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Stripe or the customer's bank refused it: the customer is owed it still."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment at Stripe paid for: an invoice, or a top-up."""

    organization_id: OrganizationId
    payment_intent_id: str
    amount: Decimal
    currency: str
    invoice_id: InvoiceId | None = None
    top_up_id: TopUpId | None = None


@dataclass(frozen=True, slots=True)
class RefundRow:
    """Money that goes back to a customer, asked for by the operator here or begun at Stripe."""

    organization_id: OrganizationId
    id: UUID
    payment_intent_id: str
    invoice_id: InvoiceId | None
    top_up_id: TopUpId | None
    amount: Decimal
    currency: str
    status: RefundStatus
    is_ours: bool
    """Asked for here; the others were begun at Stripe, and wait for the credit note that explains them."""
    stripe_refund_id: str | None
    reason: str | None
    from_credit: Decimal
    """Of a top-up's refund: what was taken from its grant; the customer owes the rest."""
    last_error: str | None
    attempts: int
    next_at: datetime | None
    """When Stripe is asked next; `None` once nothing more is to come."""
    requested_by: KeyId | None
    created_at: datetime
    updated_at: datetime

    @property
    def gone(self) -> Decimal:
        """What of it has left."""
        return self.amount if self.status in {RefundStatus.SENT, RefundStatus.SUCCEEDED} else money.ZERO


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A payment that a customer's bank takes back, and may give back."""

    organization_id: OrganizationId
    id: UUID
    stripe_dispute_id: str
    payment_intent_id: str
    invoice_id: InvoiceId | None
    top_up_id: TopUpId | None
    amount: Decimal
    currency: str
    status: str
    """Stripe's word."""
    reason: str
    withdrawn: Decimal
    """What was taken from our balance."""
    returned: Decimal
    """What came back."""
    from_credit: Decimal
    """Of a top-up's dispute: what was taken from its grant."""
    created_at: datetime
    updated_at: datetime

    @property
    def gone(self) -> Decimal:
        """What was taken and did not come back."""
        return money.EXACT.subtract(self.withdrawn, self.returned)


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of our balance at Stripe that is of an organization. Rows are only added."""

    organization_id: OrganizationId
    id: str
    """Stripe's `txn_…`."""
    type: str
    source_id: str | None
    """The charge, refund or dispute that it is of."""
    payment_intent_id: str
    """The payment behind that."""
    currency: str
    amount: Decimal
    fee: Decimal
    source_currency: str
    """What the customer paid in; another one where Stripe exchanged it."""
    source_amount: Decimal
    """What it is of the payment, refund or dispute, in that currency: below zero for what goes away."""
    created_at: datetime
    recorded_at: datetime

    @property
    def net(self) -> Decimal:
        """What it adds to our balance."""
        return money.EXACT.subtract(self.amount, self.fee)


@dataclass(frozen=True, slots=True)
class PayoutShare:
    """An organization's part of what Stripe paid to our bank, or of what came back from there. Rows are only added."""

    organization_id: OrganizationId
    payout_id: str
    is_return: bool
    currency: str
    amount: Decimal
    """Below zero where refunds and fees were more than payments."""
    recorded_at: datetime


class Unlike(StrEnum):
    """In what our books and Stripe's can differ."""

    MISSING_AT_STRIPE = "missing_at_stripe"
    MISSING_HERE = "missing_here"
    DUPLICATE = "duplicate"
    AMOUNT = "amount"
    STATUS = "status"
    NUMBER = "number"
    CLEARING = "clearing"
    PAYOUT = "payout"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which our books and Stripe's differ."""

    kind: Unlike
    organization: str | None
    """Its id as text; `None` where it is nobody's."""
    what: str
    """Whose object it is about, ours or Stripe's."""
    ours: str | None
    stripes: str | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What came of comparing our books with Stripe's."""

    id: UUID
    began_at: datetime
    finished_at: datetime
    since: datetime
    """Movements and objects from then on were compared, and whatever is open."""
    compared: Mapping[str, int]
    """How many there were, by kind of object."""
    repaired: int
    """What was merely late, and was done now."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """How payments stand."""

    collections: Mapping[str, int]
    """How many invoices are in which state of collection."""
    oldest_due_at: datetime | None
    """Since when the longest due step waits."""
    last: Reconciliation | None
