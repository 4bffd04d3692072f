"""The API shapes of calls: the generation object, which is also a row of the list."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from tollgate.infra.web import PAGE_MAX, Amount, Body, parse_cursor
from tollgate.kit.ids import OrganizationId, typed, typed_or_none
from tollgate.kit.money import EXACT, amount_text
from tollgate.kit.tokens import Kind
from tollgate.metering.model import AttemptStatus, CallStatus
from tollgate.pricing.model import ChargeItem, PriceAdjustment, Unit
from tollgate.reports.model import Attempt, CallFilter, Generation
from tollgate.reports.rules import throughput
from tollgate.reports.schemas.selection import Selection


class CallsParameters(Selection, kw_only=True, frozen=True):
    """Which calls to list. With no time named, all of them."""

    status: tuple[CallStatus, ...] = ()
    finish_reason: tuple[str, ...] = ()
    min_cost: Amount | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: str | None = None

    @property
    def before(self) -> UUID | None:
        return None if self.cursor is None else parse_cursor(self.cursor)

    def wanted(self, organization_id: OrganizationId) -> CallFilter:
        return CallFilter(
            organization_id=organization_id,
            filters=self.filters(),
            status=self.status,
            finish_reason=self.finish_reason,
            cost_min=self.min_cost,
        )


class GenerationParameters(Body, kw_only=True, frozen=True):
    """Which call to look up."""

    id: str


class ChargeItemView(Struct, kw_only=True, frozen=True):
    """One kind's part of a charge."""

    kind: Kind
    quantity: int
    unit: Unit
    unit_price: str
    amount: str

    @classmethod
    def of(cls, item: ChargeItem) -> "ChargeItemView":
        return cls(
            kind=item.kind,
            quantity=item.quantity,
            unit=item.unit,
            unit_price=amount_text(item.unit_price),
            amount=amount_text(item.amount),
        )


class PercentView(Struct, kw_only=True, frozen=True):
    """The discount (`"-10"`) or markup (`"20"`) on every unit price; which of our adjustments it was of."""

    id: str
    percent: str

    @classmethod
    def of(cls, adjustment: PriceAdjustment) -> "PercentView":
        return cls(id=typed("padj", adjustment.id), percent=amount_text(adjustment.percent))


class ChargeView(Struct, kw_only=True, frozen=True):
    """What a call cost: `amount` is `origin` less `discount`, and the sum of the items.

    `origin` is what it would have cost without the adjustment of prices that applied, and the same where none did. Of a
    markup, the discount is negative.
    """

    origin: str
    discount: str
    amount: str
    currency: str
    adjustment: PercentView | None
    items: list[ChargeItemView]

    @classmethod
    def of(cls, generation: Generation) -> "ChargeView":
        call, price = generation.call, generation.price
        adjustment = None if price is None else price.adjustment
        return cls(
            origin=amount_text(call.origin_amount),
            discount=amount_text(EXACT.subtract(call.origin_amount, call.amount)),
            amount=amount_text(call.amount),
            currency=call.currency,
            adjustment=None if adjustment is None else PercentView.of(adjustment),
            items=[ChargeItemView.of(item) for item in generation.items],
        )


class AttemptView(Struct, kw_only=True, frozen=True):
    """One try at one endpoint."""

    endpoint: str
    provider: str
    status: AttemptStatus
    http_status: int | None
    error: str | None
    latency_ms: int | None
    provider_cost: str | None
    """What the provider charges for it; `null` where that is not known."""

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptView":
        return cls(
            endpoint=typed("ep", attempt.endpoint_id),
            provider=attempt.provider,
            status=attempt.status,
            http_status=attempt.http_status,
            error=attempt.error,
            latency_ms=attempt.latency_ms,
            provider_cost=_cost(attempt.provider_cost),
        )


class GenerationView(Struct, kw_only=True, frozen=True):
    """One call, the whole story. `throughput` is output tokens per second over the whole generation time.

    `api` is what the caller spoke: `chat.completions`, `responses`, `embeddings` or `messages`.
    """

    id: str
    created_at: datetime
    model: str
    requested_model: str
    provider: str | None
    endpoint: str | None
    api: str
    streamed: bool
    status: CallStatus
    estimated: bool
    """Whether some of the quantities are our own count, because the provider told none."""
    anomalous: bool
    """Whether the provider's usage contradicts itself."""
    finish_reason: str | None
    native_finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    throughput: float | None
    usage: Mapping[str, object] | None
    """What the provider reported for the attempt that served, untouched."""
    quantities: dict[Kind, int]
    """What is charged: no token is in two kinds."""
    prompt_tokens: int
    completion_tokens: int
    estimate: Mapping[Kind, int] | None
    """What we counted ourselves, of the kinds where the provider's figure is far from it; `null` if there are none."""
    price_version: str | None
    service_tier: str | None
    """The one whose price it was charged by."""
    charge: ChargeView
    resolved_by: str | None
    """Of an `unpriced` call: the re-rate that gave all it used a price; what that came to is an adjustment."""
    provider_cost: str | None
    key: str
    project: str | None
    user: str | None
    session_id: str | None
    metadata: Mapping[str, object] | None
    attempts: list[AttemptView]

    @classmethod
    def of(cls, generation: Generation) -> "GenerationView":
        call = generation.call
        return cls(
            id=typed("gen", call.id),
            created_at=call.accepted_at,
            model=call.model,
            requested_model=call.requested_model,
            provider=call.provider,
            endpoint=typed_or_none("ep", call.endpoint_id),
            api=call.api,
            streamed=call.streamed,
            status=call.status,
            estimated=call.estimated,
            anomalous=call.anomalous,
            finish_reason=call.finish_reason,
            native_finish_reason=call.native_finish_reason,
            latency_ms=call.latency_ms,
            generation_ms=call.generation_ms,
            throughput=throughput(call.quantities.completion_tokens, call.generation_ms),
            usage=generation.serving_usage,
            quantities=dict(call.quantities),
            prompt_tokens=call.quantities.prompt_tokens,
            completion_tokens=call.quantities.completion_tokens,
            estimate=call.estimate,
            price_version=typed_or_none("price", call.price_version_id),
            service_tier=None if generation.price is None else generation.price.service_tier,
            charge=ChargeView.of(generation),
            resolved_by=typed_or_none("rerate", generation.resolved_by),
            provider_cost=_cost(call.provider_cost),
            key=typed("key", call.key_id),
            project=typed_or_none("prj", call.project_id),
            user=call.user_id,
            session_id=call.session_id,
            metadata=call.metadata,
            attempts=[AttemptView.of(attempt) for attempt in generation.attempts],
        )


def _cost(amount: Decimal | None) -> str | None:
    return None if amount is None else amount_text(amount)
