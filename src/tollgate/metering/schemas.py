"""The API's shapes of what the operator does with an organization's credit."""

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

from tollgate.infra import web
from tollgate.infra.web import Amount, Body
from tollgate.ledger.model import PRIORITY_DEFAULT, AdjustmentOrder, GrantCategory, GrantTerms

_Reason: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class CreateGrant(Body, kw_only=True, frozen=True):
    """Credit for an organization."""

    amount: Amount
    category: GrantCategory | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """What the top-up is called elsewhere. The same reference again, on the same terms, answers the same grant."""

    def terms(self, currency: str) -> GrantTerms:
        """What is granted, in the organization's currency."""
        return GrantTerms(
            amount=self.amount,
            currency=currency,
            category=self.category or GrantCategory.PAID,
            reason=self.reason or "",
            priority=PRIORITY_DEFAULT if self.priority is None else self.priority,
            expires_at=self.expires_at,
            reference=self.reference,
        )


class VoidGrant(Body, kw_only=True, frozen=True):
    """Why a grant is taken back."""

    reason: _Reason


class CreateAdjustment(Body, kw_only=True, frozen=True):
    """What to give an organization (`"1.50"`) or to charge it (`"-1.50"`), and why; the reason is on its invoice."""

    amount: str
    reason: _Reason

    def order(self, currency: str) -> AdjustmentOrder:
        """What is adjusted, in the organization's currency."""
        return AdjustmentOrder(web.amount(self.amount, "amount"), currency, self.reason)
