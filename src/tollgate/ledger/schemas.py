"""The API's shapes of grants and adjustments, the same for whoever looks at them."""

from datetime import datetime

from msgspec import Struct

from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.money import amount_text
from tollgate.ledger.model import Adjustment, Grant, GrantCategory


class GrantView(Struct, kw_only=True, frozen=True):
    """One grant of credit and what became of it: `amount` is `burned`, `expired`, `voided` and `remaining` together."""

    id: str
    organization: str
    category: GrantCategory
    priority: int
    amount: str
    burned: str
    expired: str
    voided: str
    """What was taken back. It is posted when the calls that were under way have settled; until then it remains."""
    remaining: str
    currency: str
    reason: str
    reference: str | None
    expires_at: datetime | None
    voided_at: datetime | None
    void_reason: str | None
    ends_at: datetime | None
    """From when on nothing new is admitted on it: `expires_at` or `voided_at`, whichever is first."""
    created_at: datetime

    @classmethod
    def of(cls, grant: Grant) -> "GrantView":
        return cls(
            id=typed("grt", grant.id),
            organization=typed("org", grant.organization_id),
            category=grant.category,
            priority=grant.priority,
            amount=amount_text(grant.amount),
            burned=amount_text(grant.burned),
            expired=amount_text(grant.expired),
            voided=amount_text(grant.voided),
            remaining=amount_text(grant.remaining),
            currency=grant.currency,
            reason=grant.reason,
            reference=grant.reference,
            expires_at=grant.expires_at,
            voided_at=grant.voided_at,
            void_reason=grant.void_reason,
            ends_at=grant.ends_at,
            created_at=grant.created_at,
        )


class AdjustmentView(Struct, kw_only=True, frozen=True):
    """One adjustment: above zero in the customer's favour, below zero a charge."""

    id: str
    organization: str
    amount: str
    currency: str
    reason: str
    grant: str | None
    """The credit that an adjustment in the customer's favour is."""
    credits_amount: str
    """Of a charge: what grants paid of it. The rest is on the next invoice."""
    created_at: datetime

    @classmethod
    def of(cls, adjustment: Adjustment) -> "AdjustmentView":
        return cls(
            id=typed("adj", adjustment.id),
            organization=typed("org", adjustment.organization_id),
            amount=amount_text(adjustment.amount),
            currency=adjustment.currency,
            reason=adjustment.reason,
            grant=typed_or_none("grt", adjustment.grant_id),
            credits_amount=amount_text(adjustment.credits_amount),
            created_at=adjustment.created_at,
        )
