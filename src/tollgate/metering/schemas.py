"""The API's shapes of grants."""

from datetime import datetime
from typing import Annotated

import msgspec

from tollgate.infra.web import Amount, Body
from tollgate.kit import ids, money
from tollgate.ledger.model import PRIORITY_DEFAULT, Grant, GrantCategory, GrantTerms


class CreateGrant(Body, kw_only=True, frozen=True):
    """Credit for an organization."""

    amount: Amount
    category: GrantCategory = GrantCategory.PAID
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] = PRIORITY_DEFAULT
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""

    def terms(self, currency: str) -> GrantTerms:
        """What is granted, in the organization's currency."""
        return GrantTerms(
            amount=self.amount,
            currency=currency,
            category=self.category,
            reason=self.reason,
            priority=self.priority,
            expires_at=self.expires_at,
        )


class GrantView(msgspec.Struct, kw_only=True, frozen=True):
    """One grant as operators see it."""

    id: str
    organization: str
    category: str
    priority: int
    amount: str
    remaining: str
    currency: str
    reason: str
    expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, grant: Grant) -> "GrantView":
        """Show a grant."""
        return cls(
            id=ids.typed("grt", grant.id),
            organization=ids.typed("org", grant.organization_id),
            category=grant.category,
            priority=grant.priority,
            amount=money.amount_text(grant.amount),
            remaining=money.amount_text(grant.remaining),
            currency=grant.currency,
            reason=grant.reason,
            expires_at=grant.expires_at,
            created_at=grant.created_at,
        )
