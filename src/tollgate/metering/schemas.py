"""The API's shapes of grants."""

from datetime import datetime
from typing import Annotated

import msgspec

from tollgate.infra.web import Amount, Body
from tollgate.ledger.model import PRIORITY_DEFAULT, GrantCategory, GrantTerms


class CreateGrant(Body, kw_only=True, frozen=True):
    """Credit for an organization."""

    amount: Amount
    category: GrantCategory | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None

    def terms(self, currency: str) -> GrantTerms:
        """What is granted, in the organization's currency."""
        return GrantTerms(
            amount=self.amount,
            currency=currency,
            category=self.category or GrantCategory.PAID,
            reason=self.reason or "",
            priority=PRIORITY_DEFAULT if self.priority is None else self.priority,
            expires_at=self.expires_at,
        )
