"""The API's shapes of top-ups, of what is stored to pay with, and of links to Stripe's pages."""

from datetime import datetime

from msgspec import Struct

from tollgate.infra.web import Amount, Body
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.money import amount_text
from tollgate.payments.model import StoredMethod
from tollgate.payments.records import Pages, TopUp, TopUpOrder, TopUpStatus


class AskTopUp(Body, kw_only=True, frozen=True):
    """How much credit to buy, and where the page leads back to."""

    amount: Amount
    success_url: str
    cancel_url: str

    def order(self) -> TopUpOrder:
        return TopUpOrder(self.amount, self.success_url, self.cancel_url)


class OpenSetup(Body, kw_only=True, frozen=True):
    """Where the page leads back to."""

    success_url: str
    cancel_url: str

    def pages(self) -> Pages:
        return Pages(self.success_url, self.cancel_url)


class OpenPortal(Body, kw_only=True, frozen=True):
    """Where the pages lead back to."""

    return_url: str


class Link(Struct, kw_only=True, frozen=True):
    """A page at Stripe, for a short time."""

    url: str


class TopUpView(Struct, kw_only=True, frozen=True):
    """One top-up. `url` is where to pay, while it is open; credit comes once Stripe confirms the payment."""

    id: str
    status: TopUpStatus
    amount: str
    tax: str
    total: str
    currency: str
    url: str | None
    reason: str | None
    grant: str | None
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, top_up: TopUp) -> "TopUpView":
        return cls(
            id=typed("tup", top_up.id),
            status=top_up.status,
            amount=amount_text(top_up.amount),
            tax=amount_text(top_up.tax),
            total=amount_text(top_up.total),
            currency=top_up.currency,
            url=top_up.url,
            reason=top_up.reason,
            grant=typed_or_none("grt", top_up.grant_id),
            created_at=top_up.created_at,
            expires_at=top_up.expires_at,
            closed_at=top_up.closed_at,
        )


class MethodView(Struct, kw_only=True, frozen=True):
    """What invoices are paid with."""

    type: str
    brand: str | None
    last4: str | None
    expires: str | None
    """Year and month, as in 2030-12; the method is good until that month ends."""

    @classmethod
    def of(cls, method: StoredMethod) -> "MethodView":
        has_end = method.expires_year is not None and method.expires_month is not None
        return cls(
            type=method.type,
            brand=method.brand,
            last4=method.last4,
            expires=f"{method.expires_year:04}-{method.expires_month:02}" if has_end else None,
        )
