"""Effects: what calls that were charged by one price would have cost at another. Pure and exact.

Sums of calls are rated where that is the same as rating every one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from tollgate.kit.ids import EndpointId, OrganizationId, PriceVersionId
from tollgate.kit.money import EXACT, ZERO
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import STANDARD, Charge, PriceItem, PriceVersion
from tollgate.pricing.rules import rate

_ANY_VERSION = PriceVersionId(UUID(int=0))
_ANY_ENDPOINT = EndpointId(UUID(int=0))
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""Rating looks at none of them."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What an organization's calls of one price and tier used together."""

    organization_id: OrganizationId
    price_version_id: PriceVersionId
    tier: int
    """The prompt tokens from which on it was the tier of these calls."""
    quantities: UsageQuantities
    amount: Decimal
    """What they cost before any discount."""

    @property
    def calls(self) -> int:
        """How many they are."""
        return self.quantities[Kind.REQUEST]


@dataclass(frozen=True, slots=True)
class Effect:
    """What calls did cost before any discount, and what they would have cost at other prices."""

    calls: int
    amount: Decimal
    new_amount: Decimal
    unpriced: frozenset[Kind] = frozenset()
    """What they used and the other prices do not price: `new_amount` leaves it out."""

    def __add__(self, other: "Effect") -> "Effect":
        return Effect(
            self.calls + other.calls,
            EXACT.add(self.amount, other.amount),
            EXACT.add(self.new_amount, other.new_amount),
            self.unpriced | other.unpriced,
        )


NO_EFFECT = Effect(0, ZERO, ZERO)


def steps(items: Sequence[PriceItem]) -> list[int]:
    """The prompt tokens at which prices change, from 0 on."""
    return sorted({0, *(item.prompt_tokens_from for item in items)})


def fits(tier: int, priced_by: PriceVersion, items: Sequence[PriceItem]) -> bool:
    """Whether all calls of this tier fall into one tier of the other prices, so that their sums can be rated."""
    above = next((step for step in steps(priced_by.items) if step > tier), None)
    return not any(tier < step and (above is None or step < above) for step in steps(items))


def effect(bulk: Bulk, items: Sequence[PriceItem]) -> Effect:
    """What the calls would have cost at these prices, of which one tier holds them all."""
    charge = cost(bulk.quantities, items, prompt_tokens=bulk.tier)
    return Effect(bulk.calls, bulk.amount, charge.amount, frozenset(charge.unpriced))


def cost(quantities: UsageQuantities, items: Sequence[PriceItem], *, prompt_tokens: int) -> Charge:
    """What calls cost together at the tier that holds so many prompt tokens and every one of them.

    Within a tier rating is additive, so this is what rating call by call adds up to.
    """
    covering = tuple(PriceItem(item.kind, item.unit_price, item.unit) for item in items if item.covers(prompt_tokens))
    return rate(quantities, PriceVersion(_ANY_VERSION, _ANY_ENDPOINT, None, STANDARD, _ANY_TIME, None, covering))
