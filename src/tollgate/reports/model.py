"""What reports ask and answer: usage by period and group, recorded calls with their attempts, and standings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from tollgate.accounts.model import Limits, Organization
from tollgate.catalog.model import Endpoint, Model, Provider
from tollgate.keys.model import ApiKey
from tollgate.kit.ids import AttemptId, CallId, EndpointId, KeyId, OrganizationId, PriceVersionId, ProjectId, RerateId
from tollgate.kit.money import EXACT, ZERO
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.ledger.model import Grant
from tollgate.metering.model import AttemptStatus, CallStatus
from tollgate.pricing.effects import NO_EFFECT, Effect
from tollgate.pricing.model import ChargeItem, PriceVersion
from tollgate.statistics.model import NO_STATISTICS, EndpointStatistics


class Dimension(StrEnum):
    """What usage can be grouped and filtered by. `tag` means the tags of the call's key."""

    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    PROVIDER = "provider"
    KIND = "kind"
    USER = "user"
    TAG = "tag"


class Granularity(StrEnum):
    """The pieces a window is cut into, each in the calendar of the report's zone."""

    TOTAL = "total"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"
    QUARTER_HOUR = "15m"


@dataclass(frozen=True, slots=True)
class Filters:
    """The values wanted of each dimension; one without any is not restricted. Fields are named as the dimensions."""

    project: tuple[ProjectId, ...] = ()
    key: tuple[KeyId, ...] = ()
    model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    kind: tuple[Kind, ...] = ()
    user: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()

    def given(self) -> dict[Dimension, tuple[str | UUID, ...]]:
        """The dimensions that are restricted, with the values wanted of them."""
        values = {dimension: getattr(self, dimension.value) for dimension in Dimension}
        return {dimension: wanted for dimension, wanted in values.items() if wanted}


@dataclass(frozen=True, slots=True)
class Asked:
    """A stretch of time as a request names it: by its two ends, or as a month, or not at all."""

    start: datetime | None = None
    end: datetime | None = None
    month: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """A usage report as a request asks for it, before it is known whose it is and what its words refer to."""

    asked: Asked
    granularity: Granularity
    group_by: tuple[Dimension, ...]
    filters: Filters


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """One organization's usage on a window that begins and ends on quarter-hours, cut, grouped and filtered."""

    organization_id: OrganizationId
    window: Period
    zone: ZoneInfo
    granularity: Granularity
    group_by: tuple[Dimension, ...]
    filters: Filters

    @property
    def by_user(self) -> bool:
        """Whether it asks about users, whom only the calls themselves know."""
        return Dimension.USER in self.group_by or bool(self.filters.user)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used in one piece of the window by one group.

    `calls` is `None` where kinds are grouped or filtered and `request` is not among them: a single kind has no calls.
    """

    period: Period
    group: Mapping[Dimension, str | UUID | None]
    calls: int | None
    quantities: UsageQuantities
    amount: Decimal


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The rows of a usage query in order of time and group, and the total of what they count, each call once."""

    query: UsageQuery
    currency: str
    rows: tuple[Usage, ...]
    total: Usage


@dataclass(frozen=True, slots=True)
class DayOfTokens:
    """What a model read and wrote on one day of UTC, for everyone together."""

    day: date
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls of an organization are wanted; what is empty or `None` restricts nothing."""

    organization_id: OrganizationId
    filters: Filters
    status: tuple[CallStatus, ...] = ()
    finish_reason: tuple[str, ...] = ()
    cost_min: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded call, as it was settled."""

    organization_id: OrganizationId
    id: CallId
    project_id: ProjectId | None
    key_id: KeyId
    accepted_at: datetime
    requested_model: str
    model: str
    provider: str | None
    endpoint_id: EndpointId | None
    api: str
    streamed: bool
    status: CallStatus
    estimated: bool
    anomalous: bool
    finish_reason: str | None
    native_finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    quantities: UsageQuantities
    price_version_id: PriceVersionId | None
    currency: str
    origin_amount: Decimal
    amount: Decimal
    provider_cost: Decimal | None
    user_id: str | None
    session_id: str | None
    metadata: Mapping[str, object] | None
    estimate: Mapping[Kind, int] | None
    """What we counted ourselves, of the kinds where the provider's figure is far from it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a call at one endpoint. `usage` is what the provider reported, untouched."""

    id: AttemptId
    call_id: CallId
    endpoint_id: EndpointId
    provider: str
    status: AttemptStatus
    http_status: int | None
    error: str | None
    latency_ms: int | None
    provider_cost: Decimal | None
    """What the provider charges us for it; `None` is not known."""
    usage: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What one scope has spent, and what it holds for calls in flight: in all, and in the windows of now."""

    total: Decimal
    total_held: Decimal
    daily: Decimal
    daily_held: Decimal
    weekly: Decimal
    weekly_held: Decimal
    monthly: Decimal
    monthly_held: Decimal


NOTHING_SPENT = Spent(ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """A key, what it may use, and what it has used."""

    key: ApiKey
    limits: Limits
    spent: Spent
    organization: Organization | None
    """Whose it is; `None` for operator keys, which spend nothing."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything there is to know about one call."""

    call: Call
    attempts: tuple[Attempt, ...]
    price: PriceVersion | None
    """The version it was charged by; `None` if no provider answered."""
    items: tuple[ChargeItem, ...]
    """What makes up the amount, rated anew at the price version the call was charged by."""
    resolved_by: RerateId | None = None
    """Of a call without a price for all it used: the re-rate that gave it one."""

    @property
    def serving_usage(self) -> Mapping[str, object] | None:
        """What the provider of the last attempt reported: the one that served, or that ended the call."""
        return self.attempts[-1].usage if self.attempts else None


@dataclass(frozen=True, slots=True)
class Credits:
    """An organization's money right now, in its currency."""

    currency: str
    total: Decimal
    """What is left of the grants that have neither expired nor been voided."""
    held: Decimal
    """Held for calls in flight."""
    credit_limit: Decimal | None
    """How far the balance may fall below zero; `None` is as far as it likes."""
    unbilled: Decimal
    receivable: Decimal
    grants: tuple[Grant, ...]
    """The grants that `total` is of, newest first."""

    @property
    def available(self) -> Decimal | None:
        """What a new call may still hold: the bound `admit` enforces; `None` is no bound."""
        if self.credit_limit is None:
            return None
        taken = EXACT.add(EXACT.add(self.unbilled, self.receivable), self.held)
        return EXACT.subtract(EXACT.add(self.total, self.credit_limit), taken)


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint of a model as anyone may see it."""

    endpoint: Endpoint
    provider: Provider
    price: PriceVersion | None
    """The general price in force; `None` if there is none, and then the endpoint cannot be called."""
    routable: bool
    """Whether calls can be sent to it from here."""
    statistics: EndpointStatistics = NO_STATISTICS


@dataclass(frozen=True, slots=True)
class Listing:
    """One model as anyone may see it, with its endpoints in order of provider."""

    model: Model
    offers: tuple[Offer, ...]
    aliases: tuple[str, ...] = ()
    """The other slugs that lead to it, in order."""

    @property
    def context_length(self) -> int | None:
        """The longest that any of its endpoints is known to read; `None` if that is known of none."""
        return _most(offer.endpoint.context_length for offer in self.offers)

    @property
    def max_output(self) -> int | None:
        """The most that any of its endpoints is known to write; `None` if that is known of none."""
        return _most(offer.endpoint.max_output for offer in self.offers)


def _most(lengths: Iterable[int | None]) -> int | None:
    return max((length for length in lengths if length is not None), default=None)


class ModelMoved(Exception):
    """The slug is an alias: what was asked about is found under the model's own."""

    def __init__(self, alias: str, model: str) -> None:
        super().__init__(f"{alias} is an alias of {model}")
        self.alias = alias
        self.model = model


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Which models are wanted; what is empty or `None` restricts nothing."""

    text: str | None = None
    """Part of the slug or the name, in any case."""
    author: str | None = None
    supported_parameters: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ()
    """The model takes all of them, as far as is known."""
    output_modalities: tuple[str, ...] = ()
    """The model gives all of them, as far as is known."""
    providers: tuple[str, ...] = ()
    """The next ones are met by one and the same offer: it is of one of these providers, …"""
    protocols: tuple[str, ...] = ()
    """… can be reached in each of these ways, …"""
    context_length: int | None = None
    """… is known to take prompts that long, …"""
    max_price: Decimal | None = None
    """… and has prices for prompts, none of them above this, in US dollars per million tokens."""


class ListingOrder(StrEnum):
    """How models are sorted: by slug, newest, cheapest or longest first; with a minus the other way round.

    Models of which it is not known come last either way.
    """

    ID = "id"
    CREATED = "created"
    PRICE = "price"
    CONTEXT_LENGTH = "context_length"
    ID_REVERSED = "-id"
    OLDEST = "-created"
    DEAREST = "-price"
    SHORTEST_CONTEXT = "-context_length"


@dataclass(frozen=True, slots=True)
class Preview:
    """The effect that prices would have had on a month."""

    window: Period
    by_organization: Mapping[OrganizationId, Effect]

    @property
    def total(self) -> Effect:
        """On everyone together."""
        return sum(self.by_organization.values(), NO_EFFECT)
