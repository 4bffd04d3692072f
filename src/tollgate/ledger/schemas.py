"""The API's shape of grants, the same for whoever looks at them."""

from datetime import datetime

from msgspec import Struct

from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.ledger.model import Grant, GrantCategory


class GrantView(Struct, kw_only=True, frozen=True):
    """One grant of credit and what is left of it."""

    id: str
    organization: str
    category: GrantCategory
    priority: int
    amount: str
    remaining: str
    currency: str
    reason: str
    expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, grant: Grant) -> "GrantView":
        return cls(
            id=typed("grt", grant.id),
            organization=typed("org", grant.organization_id),
            category=grant.category,
            priority=grant.priority,
            amount=amount_text(grant.amount),
            remaining=amount_text(grant.remaining),
            currency=grant.currency,
            reason=grant.reason,
            expires_at=grant.expires_at,
            created_at=grant.created_at,
        )
