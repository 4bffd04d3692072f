"""What the ledger is made of: accounts by name, transfers between them, grants of credit, and adjustments."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from tollgate.kit import money
from tollgate.kit.ids import AdjustmentId, GrantId, KeyId, OrganizationId

UNBILLED = "unbilled"
"""Used and not yet on an invoice."""
RECEIVABLE = "receivable"
"""Invoiced and not yet paid."""
ROUNDING = "rounding"
"""What rounding an invoice to the minor unit gave or took."""
PROMOTIONS = "promotions"
"""Credit given away."""
REVENUE = "revenue"
"""What was sold."""
TAX = "tax"
"""Tax that was invoiced, and is owed to the state."""
CASH = "cash"
"""Money received outside of any payment provider, by word of the operator; and what a payment provider paid out."""
STRIPE_CLEARING = "stripe_clearing"
"""Money at Stripe: received there and not yet paid out. Nothing is left in it when everything is."""
REFUNDABLE = "refundable"
"""Paid at Stripe for credit that was voided since: owed to the customer until it is refunded, and not to be spent."""
PROCESSING_FEES = "processing_fees"
"""What a payment provider kept."""
EXCHANGE = "exchange"
"""What a payment provider exchanged for another currency: given in the one, received in the other."""
UNCOLLECTIBLE = "uncollectible"
"""Invoiced, and given up."""


_CREDITS = "credits:"


def credits_of(grant_id: GrantId) -> str:
    """The account of one grant."""
    return f"{_CREDITS}{grant_id}"


def grant_of(account: str) -> GrantId | None:
    """The grant whose account this is, if it is one's."""
    return GrantId(UUID(account.removeprefix(_CREDITS))) if account.startswith(_CREDITS) else None


class GrantCategory(StrEnum):
    """Whether a grant was bought or given."""

    PAID = "paid"
    PROMOTIONAL = "promotional"

    @property
    def source(self) -> str:
        """The account a grant of this category is made from."""
        return CASH if self is GrantCategory.PAID else PROMOTIONS


@dataclass(frozen=True, slots=True)
class Transfer:
    """One posting: `amount` (above zero) debited to one account and credited to another.

    The id follows from the cause, so posting the same transfer again changes nothing. `occurred_at` is when the
    economic event happened, `posted_at` when the ledger learnt of it.
    """

    organization_id: OrganizationId
    id: UUID
    debit_account: str
    credit_account: str
    amount: Decimal
    currency: str
    cause: str
    cause_id: UUID
    reverses_id: UUID | None
    occurred_at: datetime
    posted_at: datetime


AMOUNT_MAX = Decimal(10**18)
"""The most that one grant or adjustment is of: many of them still add up within the digits that a balance has."""

PRIORITY_DEFAULT = 50
"""Grants burn from lower to higher priority numbers."""


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is granted, before it is."""

    amount: Decimal
    currency: str
    category: GrantCategory
    reason: str
    priority: int = PRIORITY_DEFAULT
    expires_at: datetime | None = None
    reference: str | None = None
    """What a top-up is called elsewhere, such as a bank transfer's number: credited once, however often it is told."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Credit an organization may spend. Granted = burned + expired + voided + remaining, always.

    Grants burn by lower priority number first, then soonest expiry, promotional before paid, oldest first. A grant pays
    for the calls accepted before it ends, also for those settled later; what none of them used is then posted.
    """

    organization_id: OrganizationId
    id: GrantId
    category: GrantCategory
    priority: int
    amount: Decimal
    remaining: Decimal
    currency: str
    reason: str
    expires_at: datetime | None
    created_at: datetime
    created_by: KeyId | None
    reference: str | None = None
    voided_at: datetime | None = None
    voided_by: KeyId | None = None
    void_reason: str | None = None
    closed_at: datetime | None = None
    """When what was left of it was posted; from then on nothing is."""
    unused: Decimal = money.ZERO
    """What was left of it when it was closed."""

    @property
    def ends_at(self) -> datetime | None:
        """From when on nothing new is admitted on it: its expiry or its voiding, whichever is first."""
        return min((at for at in (self.expires_at, self.voided_at) if at is not None), default=None)

    @property
    def burned(self) -> Decimal:
        """What it paid for: calls, charges, and what an invoice would have left due."""
        return money.EXACT.subtract(money.EXACT.subtract(self.amount, self.remaining), self.unused)

    @property
    def expired(self) -> Decimal:
        """What was left of it when it expired."""
        return money.ZERO if self._was_voided else self.unused

    @property
    def voided(self) -> Decimal:
        """What was taken back."""
        return self.unused if self._was_voided else money.ZERO

    @property
    def _was_voided(self) -> bool:
        return self.voided_at is not None and (self.expires_at is None or self.voided_at < self.expires_at)


@dataclass(frozen=True, slots=True)
class AdjustmentOrder:
    """What the operator gives (above zero) or takes (below), and why."""

    amount: Decimal
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What the operator gave an organization or charged it beside its calls.

    Above zero it is in the customer's favour: a grant of the same id, which calls burn, and which pays what the next
    invoices would leave due. Below zero it is a charge: paid by grants as a call of its time is, and `unbilled` for the
    rest, until the next invoice.
    """

    organization_id: OrganizationId
    id: AdjustmentId
    amount: Decimal
    currency: str
    reason: str
    credits_amount: Decimal
    """Of a charge: what grants paid of it."""
    invoice_cut: int
    created_at: datetime
    created_by: KeyId | None

    @property
    def grant_id(self) -> GrantId | None:
        """The grant that it is, if it is in the customer's favour."""
        return GrantId(self.id) if self.amount > 0 else None


@dataclass(frozen=True, slots=True)
class Favour:
    """An adjustment in the customer's favour, and what is left of its grant."""

    adjustment: Adjustment
    remaining: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceScope:
    """Which charges an invoice covers: made before `end` and up to the cut, without those of the invoice before."""

    end: datetime
    cut: int | None
    """`None` while nothing is cut: up to now."""
    previous: tuple[datetime, int] | None
    """The end and the cut of the invoice before."""
