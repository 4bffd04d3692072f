"""The API shapes of prices and of adjustments of them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct

from tollgate.infra import web
from tollgate.infra.web import Amount, Body, Instant, Paging
from tollgate.kit.ids import OrganizationId, typed, typed_or_none
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import (
    STANDARD,
    AdjustmentDraft,
    AdjustmentFilters,
    Place,
    PriceDraft,
    PriceItem,
    PriceVersion,
    Publication,
    PublishedAdjustment,
    Source,
    Unit,
)

_Tokens = Annotated[int, Meta(ge=0, le=2**53)]


class Tier(Body, kw_only=True, frozen=True):
    """The prompt tokens of a call that a price is for: at least `gte`, fewer than `lt`; `null` is no bound."""

    gte: _Tokens | None = None
    lt: _Tokens | None = None

    @classmethod
    def of(cls, item: PriceItem) -> "Tier | None":
        tiered = item.prompt_tokens_from > 0 or item.prompt_tokens_below is not None
        return cls(gte=item.prompt_tokens_from, lt=item.prompt_tokens_below) if tiered else None


class PriceItemBody(Body, kw_only=True, frozen=True):
    """The price of one kind, in US dollars."""

    kind: Kind
    price: Amount
    unit: Unit
    prompt_tokens: Tier | None = None
    """`null` is a price for calls of every length."""

    def item(self) -> PriceItem:
        tier = self.prompt_tokens or Tier()
        return PriceItem(self.kind, Decimal(self.price), self.unit, tier.gte or 0, tier.lt)


class PublishPrice(Body, kw_only=True, frozen=True):
    """A version to publish; it supersedes the one in force at `effective_from`, which `null` makes now."""

    model: str
    provider: str
    items: tuple[PriceItemBody, ...]
    service_tier: str | None = None
    organization: str | None = None
    effective_from: Instant | None = None

    def draft(self, endpoint: Place, *, now: datetime) -> PriceDraft:
        return PriceDraft(
            endpoint_id=endpoint.id,
            organization_id=_owner(self.organization),
            service_tier=self.service_tier or STANDARD,
            effective_from=_instant(self.effective_from, now),
            items=tuple(item.item() for item in self.items),
            needs_output=endpoint.writes,
        )


class PriceItemView(Struct, kw_only=True, frozen=True):
    """The price of one kind; `price` is a decimal string, `"0"` where the kind is free."""

    kind: Kind
    price: str
    unit: Unit
    prompt_tokens: Tier | None

    @classmethod
    def of(cls, item: PriceItem) -> "PriceItemView":
        return cls(
            kind=item.kind,
            price=amount_text(item.unit_price),
            unit=item.unit,
            prompt_tokens=Tier.of(item),
        )


class PriceView(Struct, kw_only=True, frozen=True):
    """A published version."""

    id: str
    model: str
    provider: str
    organization: str | None
    service_tier: str
    effective_from: datetime
    effective_to: datetime | None
    """`null` until another version supersedes it, or it is ended."""
    items: list[PriceItemView]
    source: Source
    published_at: datetime
    published_by: str | None
    withdrawn_at: datetime | None
    """When it was taken back before it began; it charges no call."""

    @classmethod
    def of(cls, publication: Publication, *, model: str, provider: str) -> "PriceView":
        version: PriceVersion = publication.version
        return cls(
            id=typed("price", version.id),
            model=model,
            provider=provider,
            organization=typed_or_none("org", version.organization_id),
            service_tier=version.service_tier,
            effective_from=version.effective_from,
            effective_to=version.effective_to,
            items=[PriceItemView.of(item) for item in version.items],
            source=publication.source,
            published_at=publication.published_at,
            published_by=typed_or_none("key", publication.published_by),
            withdrawn_at=publication.withdrawn_at,
        )


class ListPrices(Paging, kw_only=True, frozen=True):
    """The endpoint whose history is wanted, and whose own prices; unless said, everybody's and the general ones."""

    model: str
    provider: str
    organization: str | None = None

    @property
    def owner(self) -> OrganizationId | None:
        return _owner(self.organization)


class PublishAdjustment(Body, kw_only=True, frozen=True):
    """A discount or markup to publish; what its scope leaves `null` it is for all of.

    It supersedes the one of the same scope that is in force at `effective_from`, which `null` makes now.
    """

    percent: str
    """What is added to every unit price: `"-10"` is a discount of a tenth, `"20"` a markup of a fifth."""
    organization: str | None = None
    model: str | None = None
    provider: str | None = None
    effective_from: Instant | None = None

    def draft(self, *, now: datetime) -> AdjustmentDraft:
        return AdjustmentDraft(
            organization_id=_owner(self.organization),
            model=self.model,
            provider=self.provider,
            percent=web.amount(self.percent, "percent"),
            effective_from=_instant(self.effective_from, now),
        )


class End(Body, kw_only=True, frozen=True):
    """When an adjustment, or an organization's own price, ends: `null` is now."""

    effective_to: Instant | None = None

    def instant(self, *, now: datetime) -> datetime:
        return _instant(self.effective_to, now)


class ListAdjustments(Paging, kw_only=True, frozen=True):
    """Which adjustments to list: those whose scope names all of what is named here."""

    organization: str | None = None
    model: str | None = None
    provider: str | None = None

    @property
    def filters(self) -> AdjustmentFilters:
        return AdjustmentFilters(_owner(self.organization), self.model, self.provider)


class AdjustmentView(Struct, kw_only=True, frozen=True):
    """A published adjustment of prices; what is `null` of its scope it is for all of."""

    id: str
    organization: str | None
    model: str | None
    provider: str | None
    percent: str
    effective_from: datetime
    effective_to: datetime | None
    """`null` until another one supersedes it, or it is ended."""
    published_at: datetime
    published_by: str | None
    withdrawn_at: datetime | None
    """When it was taken back before it began; it adjusts no price."""

    @classmethod
    def of(cls, published: PublishedAdjustment) -> "AdjustmentView":
        adjustment = published.adjustment
        return cls(
            id=typed("padj", adjustment.id),
            organization=typed_or_none("org", adjustment.organization_id),
            model=adjustment.model,
            provider=adjustment.provider,
            percent=amount_text(adjustment.percent),
            effective_from=adjustment.effective_from,
            effective_to=adjustment.effective_to,
            published_at=published.published_at,
            published_by=typed_or_none("key", published.published_by),
            withdrawn_at=published.withdrawn_at,
        )


def _owner(text: str | None) -> OrganizationId | None:
    return None if text is None else OrganizationId(web.parse_id("org", text, "organization"))


def _instant(given: datetime | None, now: datetime) -> datetime:
    return now if given is None else given.astimezone(UTC)
