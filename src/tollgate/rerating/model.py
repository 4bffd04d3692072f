"""A re-rate as a value: corrected prices of one endpoint and a past time, and what they change for whom.

An amount is what calls cost as things stand: as they were charged, or as the last re-rate left it. A new amount is what
they cost at the corrected prices. Both are what the customer pays, discounts and markups included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from tollgate.invoices.model import Month
from tollgate.kit.ids import AdjustmentId, EndpointId, KeyId, OrganizationId, PriceVersionId, RerateId
from tollgate.kit.money import EXACT
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.effects import Effect
from tollgate.pricing.model import PriceItem, PriceVersion


class RerateState(StrEnum):
    """How far a re-rate has come. What is measured may be applied, or left as it is; what is applied stays applied."""

    MEASURING = "measuring"
    MEASURED = "measured"
    APPLYING = "applying"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be re-rated, at which prices, and why."""

    endpoint_id: EndpointId
    model: str
    provider: str
    service_tier: str
    organization_id: OrganizationId | None
    """Whose own price the corrected one is; `None` for the general price."""
    window: Period
    """Calls accepted in it are re-rated."""
    items: tuple[PriceItem, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Rerate:
    """One re-rate."""

    id: RerateId
    number: int
    """Its place among what happened to re-rates of its endpoint."""
    terms: Terms
    state: RerateState
    created_at: datetime
    created_by: KeyId | None
    measured_at: datetime | None = None
    applied_number: int | None = None
    """The place of its being applied; what was measured before and overlaps is out of date."""
    applied_at: datetime | None = None
    applied_by: KeyId | None = None
    finished_at: datetime | None = None
    """When the last adjustment was posted."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a re-rate comes to, over the organizations that are measured."""

    organizations: int
    measured: int
    posted: int
    calls: int
    calls_spared: int
    amount: Decimal
    new_amount: Decimal
    unpriced: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class Layer:
    """A re-rate that was applied to an organization's records: they cost what its prices say."""

    rerate_id: RerateId
    window: Period
    cut: int
    """Records of later cuts were not there yet, and are not touched by it."""
    own: bool
    """Whether it gave the organization a price of its own."""
    items: tuple[PriceItem, ...]


class Key(NamedTuple):
    """What records have in common that one price holds for."""

    price_version_id: PriceVersionId
    piece: int
    """Which piece of time, from 1: between two edges, where no layer begins or ends and no month."""
    generation: int
    """How many layers were applied before these were recorded."""
    prompt_tokens: int
    """The step of all prices involved that these calls are in."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What records used together, what was charged for it, and whether some of it had no price."""

    quantities: UsageQuantities
    charged: Decimal
    lacks_price: bool = False

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(
            self.quantities + other.quantities,
            EXACT.add(self.charged, other.charged),
            self.lacks_price or other.lacks_price,
        )


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the window; a whole one begins and ends with quarter-hours, so that rollups tell all of it."""

    period: Period
    whole: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that decides what an organization's records come to, but the records."""

    organization_id: OrganizationId
    terms: Terms
    cut: int
    """Records up to it are asked about; nothing is added to them any more."""
    layers: tuple[Layer, ...]
    """What was applied before, oldest first."""
    edges: tuple[datetime, ...]
    """Where pieces begin, and where the last one ends."""
    steps: tuple[int, ...]
    """The prompt tokens at which any of the prices involved changes, from 0 on."""
    versions: Mapping[PriceVersionId, PriceVersion]
    """What may have charged these records, each as it was published."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What re-rating changes for one organization."""

    months: Mapping[Month, Effect]
    calls_spared: int = 0
    """Calls of the endpoint that nobody is charged for, because of how they ended; re-rating leaves them so."""
    percents: Sequence[str] = ()
    """The discounts and markups that the corrected price was charged with as well."""
    lacking: frozenset[PriceVersionId] = frozenset()
    """The versions that some of these calls had no price by."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a re-rate changes for one organization, as it was measured, and the adjustment that made it so."""

    organization_id: OrganizationId
    rerate_id: RerateId
    cut: int | None
    measured_at: datetime | None
    calls: int
    calls_spared: int
    amount: Decimal
    new_amount: Decimal
    percents: tuple[str, ...]
    unpriced: frozenset[Kind]
    """What was used and the corrected prices do not price; there must be nothing, or it cannot be applied."""
    lacking: tuple[PriceVersionId, ...]
    posted_at: datetime | None = None
    adjustment_id: AdjustmentId | None = None

    @property
    def difference(self) -> Decimal:
        """Above zero for what is yet to be paid, below for what was paid too much."""
        return EXACT.subtract(self.new_amount, self.amount)


@dataclass(frozen=True, slots=True)
class MonthResult:
    """The part of a result that belongs to one month."""

    month: Month
    calls: int
    amount: Decimal
    new_amount: Decimal
    invoice_number: str | None
    """The invoice of that month, if it was issued when this was measured; it keeps its bytes."""


@dataclass(frozen=True, slots=True)
class Told:
    """A result with its months, for whoever looks at it."""

    result: Result
    months: tuple[MonthResult, ...]
