"""The API shapes of re-rates."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Struct

from tollgate.infra import web
from tollgate.infra.web import Body, Instant
from tollgate.kit.ids import OrganizationId, typed, typed_or_none
from tollgate.kit.money import EXACT, amount_text
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import CURRENCY, STANDARD, Place
from tollgate.pricing.schemas import PriceItemBody, PriceItemView
from tollgate.rerating.model import MonthResult, Rerate, RerateState, Tally, Terms, Told

_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class BeginRerate(Body, kw_only=True, frozen=True):
    """What calls of the past were to cost: of one model at one provider, accepted from `from` until before `to`.

    With an organization, `items` are its own price; without one, the general price, which discounts and markups adjust.
    """

    model: str
    provider: str
    items: tuple[PriceItemBody, ...]
    reason: _Reason
    """Why; it is on the invoices of those whose amounts change."""
    since: Instant = msgspec.field(name="from")
    until: Instant | None = msgspec.field(name="to", default=None)
    """`null` is now."""
    service_tier: str | None = None
    organization: str | None = None

    def terms(self, place: Place, *, now: datetime) -> Terms:
        until = now if self.until is None else self.until.astimezone(UTC)
        owner = None
        if self.organization is not None:
            owner = OrganizationId(web.parse_id("org", self.organization, "organization"))
        return Terms(
            endpoint_id=place.id,
            model=place.model,
            provider=place.provider,
            service_tier=self.service_tier or STANDARD,
            organization_id=owner,
            window=Period(self.since.astimezone(UTC), until),
            items=tuple(item.item() for item in self.items),
            reason=self.reason,
        )


class ProgressView(Struct, kw_only=True, frozen=True):
    """How many organizations used the model then, and of how many of them it is known, or posted, what changes."""

    organizations: int
    measured: int
    posted: int


class RerateView(Struct, kw_only=True, frozen=True):
    """A re-rate. `amount` is what the calls cost as things stand, `new_amount` what they cost at the corrected prices.

    Both are what customers pay, and `difference` is what is posted: above zero they are charged, below they are given.
    """

    id: str
    state: RerateState
    model: str
    provider: str
    service_tier: str
    organization: str | None
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    items: list[PriceItemView]
    reason: str
    currency: str
    progress: ProgressView
    calls: int
    calls_spared: int
    """Calls of the endpoint, in any service tier, that nobody is charged for because of how they ended."""
    amount: str
    new_amount: str
    difference: str
    unpriced: list[Kind]
    """What was used and the corrected prices do not price: it cannot be applied while there is any."""
    warnings: list[str]
    """What to know of the price that is in force now; lists leave it out."""
    created_at: datetime
    created_by: str | None
    measured_at: datetime | None
    applied_at: datetime | None
    applied_by: str | None
    finished_at: datetime | None

    @classmethod
    def of(cls, shown: "Shown") -> "RerateView":
        rerate, tally = shown.rerate, shown.tally
        terms = rerate.terms
        return cls(
            id=typed("rerate", rerate.id),
            state=rerate.state,
            model=terms.model,
            provider=terms.provider,
            service_tier=terms.service_tier,
            organization=typed_or_none("org", terms.organization_id),
            since=terms.window.start,
            until=terms.window.end,
            items=[PriceItemView.of(item) for item in terms.items],
            reason=terms.reason,
            currency=CURRENCY,
            progress=ProgressView(organizations=tally.organizations, measured=tally.measured, posted=tally.posted),
            calls=tally.calls,
            calls_spared=tally.calls_spared,
            amount=amount_text(tally.amount),
            new_amount=amount_text(tally.new_amount),
            difference=amount_text(EXACT.subtract(tally.new_amount, tally.amount)),
            unpriced=[kind for kind in Kind if kind in tally.unpriced],
            warnings=shown.warnings,
            created_at=rerate.created_at,
            created_by=typed_or_none("key", rerate.created_by),
            measured_at=rerate.measured_at,
            applied_at=rerate.applied_at,
            applied_by=typed_or_none("key", rerate.applied_by),
            finished_at=rerate.finished_at,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A re-rate with all that is shown of it."""

    rerate: Rerate
    tally: Tally
    warnings: list[str]


class MonthView(Struct, kw_only=True, frozen=True):
    """The part that belongs to one of the organization's months; its invoice, if issued, keeps its bytes."""

    month: str
    calls: int
    amount: str
    new_amount: str
    difference: str
    invoice: str | None

    @classmethod
    def of(cls, month: MonthResult) -> "MonthView":
        return cls(
            month=month.month.name,
            calls=month.calls,
            amount=amount_text(month.amount),
            new_amount=amount_text(month.new_amount),
            difference=amount_text(EXACT.subtract(month.new_amount, month.amount)),
            invoice=month.invoice_number,
        )


class ResultView(Struct, kw_only=True, frozen=True):
    """What changes for one organization, and the adjustment that was posted, if any."""

    organization: str
    calls: int
    calls_spared: int
    amount: str
    new_amount: str
    difference: str
    percents: list[str]
    """The discounts and markups that the corrected price was adjusted by, as the published one was."""
    unpriced: list[Kind]
    months: list[MonthView]
    posted_at: datetime | None
    adjustment: str | None

    @classmethod
    def of(cls, told: Told) -> "ResultView":
        result = told.result
        return cls(
            organization=typed("org", result.organization_id),
            calls=result.calls,
            calls_spared=result.calls_spared,
            amount=amount_text(result.amount),
            new_amount=amount_text(result.new_amount),
            difference=amount_text(result.difference),
            percents=list(result.percents),
            unpriced=[kind for kind in Kind if kind in result.unpriced],
            months=[MonthView.of(month) for month in told.months],
            posted_at=result.posted_at,
            adjustment=typed_or_none("adj", result.adjustment_id),
        )
