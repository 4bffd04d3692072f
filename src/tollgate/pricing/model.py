"""Prices as values: items on versions, versions in books, and the charge that rating makes of them.

The three states of a price: a kind without an item in the version is not offered (null, shown `-`); an item at 0 is
free (shown `Free`); an endpoint without a version in force is not priced at all, which is an error before the call.

A price adjustment makes another version of a general one, its unit prices changed by a percentage. That derived version
has no row: its id follows from both its parents, and whoever meets it finds it again from them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol, Self, TypeAlias

from tollgate.kit import money
from tollgate.kit.ids import EndpointId, KeyId, OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.kit.tokens import BASE_KIND, COMPLETION_KINDS, PROMPT_KINDS, Kind

CURRENCY = "USD"
"""What all prices are in."""
STANDARD = "standard"
"""The service tier of a call that asked for none, and the one whose price applies where a tier has none of its own."""


class Source(StrEnum):
    """Where a version came from: an operator's hand, the first start, or the import of a public price list."""

    OPERATOR = "operator"
    SEED = "seed"
    IMPORT = "import"


class Unit(StrEnum):
    """What one unit price buys."""

    PER_MILLION_TOKENS = "per_million_tokens"
    PER_COUNT = "per_count"
    PER_SECOND = "per_second"


UNIT_EXPONENT: Mapping[Unit, int] = {Unit.PER_MILLION_TOKENS: -6, Unit.PER_COUNT: 0, Unit.PER_SECOND: 0}
"""The power of ten that makes of a unit price the price of a single one."""


@dataclass(frozen=True, slots=True)
class PriceItem:
    """The price of one kind, for calls whose prompt tokens are in `[prompt_tokens_from, prompt_tokens_below)`.

    `unit_price` is in `CURRENCY` for what `unit` says: for a million tokens, for one of them, for a second.
    """

    kind: Kind
    unit_price: Decimal
    unit: Unit
    prompt_tokens_from: int = 0
    prompt_tokens_below: int | None = None

    def covers(self, prompt_tokens: int) -> bool:
        """Whether a call that read so many tokens falls in this item's tier."""
        return self.prompt_tokens_from <= prompt_tokens and (
            self.prompt_tokens_below is None or prompt_tokens < self.prompt_tokens_below
        )


@dataclass(frozen=True, slots=True)
class DatedItems:
    """The prices that begin at an instant."""

    effective_from: datetime
    items: tuple[PriceItem, ...]


@dataclass(frozen=True, slots=True)
class AdjustmentDraft:
    """A price adjustment that is yet to be published; `None` leaves a part of its scope open."""

    organization_id: OrganizationId | None
    model: str | None
    provider: str | None
    percent: Decimal
    effective_from: datetime


@dataclass(frozen=True, slots=True)
class PriceAdjustment:
    """A discount or markup on the general prices of its scope, on `[effective_from, effective_to)`.

    Once published it never changes but for its end. That is set when another one supersedes it, and moves only if the
    other is withdrawn before it begins; or it is set by hand, and stays. Its percent has passed `rules.check_percent`.
    """

    id: PriceAdjustmentId
    organization_id: OrganizationId | None
    """Whose calls it is for; `None` for everybody's."""
    model: str | None
    """The slug of the model; `None` for all of them."""
    provider: str | None
    """The slug of the provider; `None` for all of them."""
    percent: Decimal
    """What is added to every unit price: -10 is a discount of a tenth, 20 a markup of a fifth."""
    effective_from: datetime
    effective_to: datetime | None

    def in_force(self, at: datetime) -> bool:
        """Whether a call accepted at this instant is charged by it."""
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)


@dataclass(frozen=True, slots=True)
class PublishedAdjustment:
    """An adjustment, with who published it and when."""

    adjustment: PriceAdjustment
    published_at: datetime
    published_by: KeyId | None
    """The operator key; `None` for the command line."""
    withdrawn_at: datetime | None = None
    """When it was taken back, which was before it began; it never adjusts a price."""


@dataclass(frozen=True, slots=True)
class AdjustmentFilters:
    """Which adjustments to list: those whose scope names all of what is named here."""

    organization_id: OrganizationId | None = None
    model: str | None = None
    provider: str | None = None


class Rate(NamedTuple):
    """How one kind is charged."""

    unit: Unit
    unit_price: Decimal
    each: Decimal
    """What a single one costs: of a token, a millionth of the unit price, exactly."""


class Rates(NamedTuple):
    """How calls are charged whose prompts are alike in length: items made ready to rate by, again and again."""

    prompt_tokens_from: int
    tier: int
    """The prompt tokens at which their tier begins."""
    by_kind: Mapping[Kind, Rate]
    """A kind without a price of its own has that of its base kind, if there is one."""
    dearest: tuple[Decimal, Decimal, Decimal]
    """The most that prompts no longer than these pay for a token of input, for one of output, and for the request."""


def _rates_of(items: tuple[PriceItem, ...]) -> tuple[Rates, ...]:
    """The rates of prompts of every length, the shortest first."""
    bounds = {0, *[item.prompt_tokens_from for item in items], *[item.prompt_tokens_below or 0 for item in items]}
    rates: list[Rates] = []
    prompt = completion = request = money.ZERO
    for bound in sorted(bounds):
        by_kind: dict[Kind, Rate] = {}
        covering = [item for item in items if item.covers(bound)]
        for item in covering:
            each = item.unit_price.scaleb(UNIT_EXPONENT[item.unit], money.EXACT)
            by_kind[item.kind] = Rate(item.unit, item.unit_price, each)
            if item.kind in PROMPT_KINDS:
                prompt = max(prompt, each)
            elif item.kind in COMPLETION_KINDS:
                completion = max(completion, each)
            elif item.kind is Kind.REQUEST:
                request = max(request, each)
        for kind, base in BASE_KIND.items():
            if base in by_kind:
                by_kind.setdefault(kind, by_kind[base])
        tier = max((item.prompt_tokens_from for item in covering), default=0)
        rates.append(Rates(bound, tier, by_kind, (prompt, completion, request)))
    return tuple(rates)


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """The prices of one endpoint on `[effective_from, effective_to)`; once published it never changes but for its end.

    The end is set when a version is published that supersedes it, and moves only if that is withdrawn before it begins.
    An organization's own can be ended by hand as well; then it stays.

    Items have passed `rules.check_items`: the tiers of every kind tile the prompt tokens from 0 on.
    """

    id: PriceVersionId
    endpoint_id: EndpointId
    organization_id: OrganizationId | None
    """Whose own price this is; `None` for the general one."""
    service_tier: str
    effective_from: datetime
    effective_to: datetime | None
    items: tuple[PriceItem, ...]
    base: "PriceVersion | None" = None
    """The general version that an adjustment made this one of; `None` for one that was published."""
    adjustment: PriceAdjustment | None = None
    """What made this one of its base."""
    rates: tuple[Rates, ...] = field(init=False, compare=False, repr=False)
    """What follows from its items for prompts of every length, the shortest first."""
    kinds: frozenset[Kind] = field(init=False, compare=False, repr=False)
    """What it has a price of, in whatever tier."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", _rates_of(self.items))
        object.__setattr__(self, "kinds", frozenset([item.kind for item in self.items]))

    def in_force(self, at: datetime) -> bool:
        """Whether a call accepted at this instant is charged by this version."""
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)

    def has(self, kind: Kind) -> bool:
        """Whether it has a price of this kind, in whatever tier."""
        return kind in self.kinds

    def rates_at(self, prompt_tokens: int) -> Rates:
        """How a call is charged that read so many tokens."""
        found = self.rates[0]
        for rates in self.rates[1:]:
            if rates.prompt_tokens_from > prompt_tokens:
                break
            found = rates
        return found

    @property
    def listed(self) -> "PriceVersion":
        """The version as it was published, before any adjustment: what an origin amount is rated by."""
        return self.base or self


class Place(Protocol):
    """An endpoint, as far as prices have to know it; the catalogue has them."""

    @property
    def id(self) -> EndpointId: ...
    @property
    def model(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def writes(self) -> bool:
        """Whether its calls write, so that none can be made without a price of output."""


@dataclass(frozen=True, slots=True)
class PriceDraft:
    """A version that is yet to be published."""

    endpoint_id: EndpointId
    organization_id: OrganizationId | None
    service_tier: str
    effective_from: datetime
    items: tuple[PriceItem, ...]
    needs_output: bool = False
    """Whether it is refused if it prices what is read alone. What a public price list says is taken as it is."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A version, with who published it and when."""

    version: PriceVersion
    source: Source
    published_at: datetime
    published_by: KeyId | None
    """The operator key; `None` for the first start and the command line."""
    withdrawn_at: datetime | None = None
    """When it was taken back, which was before it began; it never charges a call."""


_Scopes: TypeAlias = Mapping[tuple[str | None, str | None], tuple[PriceAdjustment, ...]]
"""One owner's adjustments, by model and provider."""


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The versions and adjustments a gateway may still need; a snapshot, replaced as a whole when prices change."""

    by_endpoint: Mapping[EndpointId, tuple[PriceVersion, ...]]
    by_owner: Mapping[OrganizationId | None, _Scopes] = field(default_factory=dict)
    derived: dict[tuple[PriceVersionId, PriceAdjustmentId], PriceVersion] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Versions that adjustments made of others, for `rules.prices_in_force` to make each of them once."""

    @classmethod
    def of(cls, versions: Iterable[PriceVersion], adjustments: Iterable[PriceAdjustment] = ()) -> Self:
        """The book of these versions and adjustments."""
        shelves: dict[EndpointId, list[PriceVersion]] = {}
        for version in versions:
            shelves.setdefault(version.endpoint_id, []).append(version)
        by_owner: dict[OrganizationId | None, dict[tuple[str | None, str | None], tuple[PriceAdjustment, ...]]] = {}
        for one in adjustments:
            scopes = by_owner.setdefault(one.organization_id, {})
            scopes[one.model, one.provider] = (*scopes.get((one.model, one.provider), ()), one)
        return cls({endpoint_id: tuple(shelf) for endpoint_id, shelf in shelves.items()}, by_owner)

    def versions(self, endpoint_id: EndpointId) -> tuple[PriceVersion, ...]:
        """The endpoint's versions: every organization's, every tier's."""
        return self.by_endpoint.get(endpoint_id, ())


class ChargeItem(NamedTuple):
    """What one kind of a call cost: `quantity` at `unit_price`, exactly. A tuple, because every call makes several."""

    kind: Kind
    quantity: int
    unit: Unit
    unit_price: Decimal
    amount: Decimal


class Charge(NamedTuple):
    """What a call cost. `amount` is the exact sum of the items, in the order of `Kind`."""

    items: tuple[ChargeItem, ...]
    amount: Decimal
    unpriced: tuple[Kind, ...]
    """Kinds that were used and have no price: `amount` leaves them out, and no invoice may until they are resolved."""
    tier: int
    """The prompt tokens at which the tier of this charge begins; 0 where prices have no tiers."""

    @property
    def priced(self) -> bool:
        """Whether everything that was used has a price."""
        return not self.unpriced
