"""What the ledger is made of: accounts by name, transfers between them, and grants of credit."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from tollgate.kit.ids import GrantId, KeyId, OrganizationId

UNBILLED = "unbilled"
"""Used and not yet on an invoice."""
RECEIVABLE = "receivable"
"""Invoiced and not yet paid."""
ROUNDING = "rounding"
"""What rounding an invoice to the minor unit gave or took."""
PROMOTIONS = "promotions"
"""Credit given away."""
CASH = "cash"
"""Money received outside of any payment provider, by word of the operator."""


def credits_of(grant_id: GrantId) -> str:
    """The account of one grant."""
    return f"credits:{grant_id}"


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


@dataclass(frozen=True, slots=True)
class Grant:
    """Credit an organization may spend. Granted = burned + expired + voided + remaining, always.

    Grants burn by lower priority number first, then soonest expiry, promotional before paid, oldest first.
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
