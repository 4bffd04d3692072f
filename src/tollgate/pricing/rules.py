"""Rating: from quantities and a price version to a charge, with no I/O, no clock and no rounding of amounts.

The whole request is rated at the tier its prompt tokens fall in. A sub-kind without a price of its own is charged at
its base kind's; a base kind without a price leaves the charge unpriced. The same prices bound a call before it is made.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tollgate.kit import money
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import (
    EndpointId,
    OrganizationId,
    PriceAdjustmentId,
    PriceVersionId,
    derived_id,
    timestamp_bits,
)
from tollgate.kit.tokens import BASE_KIND, TOKEN_KINDS, Kind, UsageQuantities
from tollgate.pricing.model import (
    UNIT_EXPONENT,
    Charge,
    ChargeItem,
    PriceAdjustment,
    PriceBook,
    PriceDraft,
    PriceItem,
    PriceVersion,
    Unit,
)

UNIT_PRICE_MAX = Decimal(1_000_000_000)
"""Published unit prices stay below this, and adjusted ones below eleven times as much, so that the product with any
real quantity fits the 38 digits of an amount.
"""
PERCENT_LEAST = Decimal(-100)
PERCENT_MOST = Decimal(1000)
PERCENT_DECIMALS_MAX = 4

_HUNDRED = Decimal(100)
_SERVICE_TIER = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_KIND_ORDER = {kind: position for position, kind in enumerate(Kind)}
_SECOND_KINDS = frozenset({Kind.AUDIO_SECONDS, Kind.VIDEO_SECONDS})
_ENTRY_KINDS = frozenset(Kind) - BASE_KIND.keys() - {Kind.COMPLETION, Kind.WEB_SEARCH}
"""Kinds that are there before a model answers. A version that prices none of them would leave every call unpriced."""


def rate(quantities: UsageQuantities, price: PriceVersion) -> Charge:
    """What these quantities cost at this price: the sum of quantity times unit price, exact (billing-rules §3).

    Pure: the same quantities and version give the same charge for ever. A sub-kind without a price of its own is
    charged at its base kind's: input of every kind, cache writes of every lifetime included, at `prompt`, and output at
    `completion`. So a price of `input_cache_write` is for writes of unknown lifetime alone; a version that means all of
    them prices each. `request` is charged where it has a price and is otherwise of no consequence; any other kind
    without a price is named in `Charge.unpriced`.
    """
    rates = price.rates_at(quantities.prompt_tokens)
    multiply, add = money.EXACT.multiply, money.EXACT.add
    items: list[ChargeItem] = []
    unpriced: list[Kind] = []
    total = money.ZERO
    for kind, quantity in quantities:
        known = rates.by_kind.get(kind)
        if known is not None:
            unit, unit_price, each = known
            amount = multiply(each, quantity)
            total = add(total, amount)
            items.append(ChargeItem(kind, quantity, unit, unit_price, amount))
        elif kind is not Kind.REQUEST:
            unpriced.append(kind)
    return Charge(tuple(items), total, tuple(unpriced), rates.tier)


def amount_of(quantity: int, unit_price: Decimal, unit: Unit) -> Decimal:
    """What so much of one kind costs, exactly."""
    return money.EXACT.multiply(unit_price, quantity).scaleb(UNIT_EXPONENT[unit], money.EXACT)


def worst_case(prompt_tokens: int, completion_tokens: int, price: PriceVersion) -> Decimal:
    """The most that a call can cost which reads and writes at most so many tokens, of whatever kinds.

    All input at the dearest price of any input kind, all output at the dearest of any output kind, over every tier
    that can be reached, and the price of the request. Kinds that are counted otherwise (images, searches, seconds)
    cannot be bounded by tokens and are not in it.
    """
    prompt, completion, request = price.rates_at(prompt_tokens).dearest
    multiply, add = money.EXACT.multiply, money.EXACT.add
    return add(add(multiply(prompt, prompt_tokens), multiply(completion, completion_tokens)), request)


def affordable_completion_tokens(budget: Decimal, prompt_tokens: int, price: PriceVersion) -> int | None:
    """The most output tokens whose worst case fits the budget: the inverse of `worst_case` in its second argument.

    `None` means that output is free and therefore unlimited; -1 that the budget does not even carry the prompt.
    """
    left = money.EXACT.subtract(budget, worst_case(prompt_tokens, 0, price))
    if left < 0:
        return -1
    _, dearest, _ = price.rates_at(prompt_tokens).dearest
    if dearest == 0:
        return None
    return int(money.EXACT.divide_int(left, dearest))


def prices_in_force(
    book: PriceBook,
    *,
    endpoint_id: EndpointId,
    model: str,
    provider: str,
    organization_id: OrganizationId,
    at: datetime,
) -> Mapping[str, PriceVersion]:
    """What charges a call that the endpoint serves and that was accepted `at` this instant, by service tier.

    Within a tier the organization's own price wins, and nothing is applied to it. The general price is charged as the
    one adjustment makes it that applies: see `adjustment_in_force`. Empty if the endpoint is not priced then.
    """
    prices: dict[str, PriceVersion] = {}
    for version in book.versions(endpoint_id):
        owner = version.organization_id
        if (owner is None or owner == organization_id) and version.in_force(at):
            known = prices.get(version.service_tier)
            if known is None or known.organization_id is None:
                prices[version.service_tier] = version
    if not book.by_owner:
        return prices
    adjustment = adjustment_in_force(book, model=model, provider=provider, organization_id=organization_id, at=at)
    if adjustment is None:
        return prices
    return {
        tier: _derived(book, version, adjustment) if version.organization_id is None else version
        for tier, version in prices.items()
    }


def adjustment_in_force(
    book: PriceBook, *, model: str, provider: str, organization_id: OrganizationId, at: datetime
) -> PriceAdjustment | None:
    """The one adjustment that applies to the general prices of this model at this provider, or `None`.

    Adjustments do not add up: the most specific one applies alone. One of the organization's own comes before one for
    everybody; among these, one for the model at the provider before one for the model, then for the provider, then for
    everything.
    """
    return next(
        (
            adjustment
            for owner in (organization_id, None)
            if owner in book.by_owner
            for scope in ((model, provider), (model, None), (None, provider), (None, None))
            for adjustment in book.by_owner[owner].get(scope, ())
            if adjustment.in_force(at)
        ),
        None,
    )


def _derived(book: PriceBook, version: PriceVersion, adjustment: PriceAdjustment) -> PriceVersion:
    """The adjusted version. Made once for each book: every call asks for it."""
    made = book.derived.get((version.id, adjustment.id))
    if made is None:
        made = book.derived[version.id, adjustment.id] = adjusted(version, adjustment)
    return made


def adjusted(version: PriceVersion, adjustment: PriceAdjustment) -> PriceVersion:
    """The general version as the adjustment makes it; itself if that changes nothing.

    Each unit price is changed by the percentage and rounded once, half away from zero, to the decimals that a unit
    price may have, so that rating stays exact. The same parents make the same version with the same id, for ever.
    """
    if adjustment.percent == 0:
        return version
    ends = [end for end in (version.effective_to, adjustment.effective_to) if end is not None]
    return replace(
        version,
        id=adjusted_id(version.id, adjustment.id),
        organization_id=adjustment.organization_id,
        effective_from=max(version.effective_from, adjustment.effective_from),
        effective_to=min(ends, default=None),
        items=tuple(_adjusted_item(item, adjustment.percent) for item in version.items),
        base=version,
        adjustment=adjustment,
    )


def adjusted_id(version_id: PriceVersionId, adjustment_id: PriceAdjustmentId) -> PriceVersionId:
    """The id of the version that the adjustment makes of that one; it keeps that one's timestamp."""
    return PriceVersionId(derived_id(version_id, f"adjusted:{adjustment_id}"))


def _adjusted_item(item: PriceItem, percent: Decimal) -> PriceItem:
    hundredfold = money.EXACT.multiply(item.unit_price, money.EXACT.add(_HUNDRED, percent))
    exact = hundredfold.scaleb(-2, money.EXACT)
    return replace(item, unit_price=money.to_decimals(exact, _decimals_max(item.unit)))


def found_again(
    ids: Collection[PriceVersionId], versions: Iterable[PriceVersion], adjustments: Sequence[PriceAdjustment]
) -> Mapping[PriceVersionId, PriceVersion]:
    """Those of the ids that an adjustment, of these, makes of a version, of these, with the version it makes."""
    stamps = {timestamp_bits(each) for each in ids}
    return {
        made: adjusted(version, adjustment)
        for version in versions
        if timestamp_bits(version.id) in stamps
        for adjustment in adjustments
        if (made := adjusted_id(version.id, adjustment.id)) in ids
    }


def check_percent(percent: Decimal) -> None:
    """Refuse what is no percentage to adjust prices by: from -100, which makes them free, to 1000, by ten-thousandths.

    Raises:
        InvalidRequest: `field` is "percent".
    """
    if not PERCENT_LEAST <= percent <= PERCENT_MOST:
        raise InvalidRequest(f"A percentage is from {PERCENT_LEAST} to {PERCENT_MOST}.", field="percent")
    if money.decimals_of(percent) > PERCENT_DECIMALS_MAX:
        raise InvalidRequest(f"A percentage has at most {PERCENT_DECIMALS_MAX} decimals.", field="percent")


def check_items(items: Sequence[PriceItem]) -> None:
    """Refuse items that could not rate every call exactly.

    Each unit must fit its kind, each price be exact at 12 decimals, the tiers of each kind tile the prompt tokens from
    0 on, and no sub-kind have a price where its base kind has none. At least one kind that is there before a model
    answers must be priced: prompt tokens for most, or the request, the image or the seconds. (A model that only reads,
    such as an embedding one, needs no completion price.)

    Raises:
        InvalidRequest: naming the first item at fault and its part, as in `items[2].prompt_tokens`.
    """
    for index, item in enumerate(items):
        _check_unit(index, item)
        _check_unit_price(index, item)
    for kind in Kind:
        _check_tiers([(index, item) for index, item in enumerate(items) if item.kind is kind])
    priced = {item.kind for item in items}
    for index, item in enumerate(items):
        base = BASE_KIND.get(item.kind, item.kind)
        if base not in priced:
            raise InvalidRequest(
                f"There is a price of {item.kind} but none of {base}, which every call needs; say 0 if it is free.",
                field=f"items[{index}].kind",
            )
    if not priced & _ENTRY_KINDS:
        raise InvalidRequest("Price at least prompt tokens, or the request, the image or the second.", field="items")


def check_output(draft: PriceDraft) -> None:
    """Refuse prices of what is read alone, where calls write: none of them could be made.

    Raises:
        InvalidRequest: `field` is "items".
    """
    if draft.needs_output and lacks_output(draft.items):
        raise InvalidRequest(
            "Calls of this endpoint write, so completion needs a price too; say 0 if it is free. (What only reads is "
            'an endpoint whose protocols are ["embeddings"].)',
            field="items",
        )


def lacks_output(items: Iterable[PriceItem]) -> bool:
    """Whether these price what is read and not what is written; prices by the request, image or second are neither."""
    priced = {item.kind for item in items}
    return Kind.PROMPT in priced and Kind.COMPLETION not in priced


def check_service_tier(name: str) -> None:
    """Refuse what is no name of a service tier.

    Raises:
        InvalidRequest: with the form that is needed.
    """
    if not _SERVICE_TIER.fullmatch(name):
        raise InvalidRequest("A service tier is a lower-case word such as standard or flex.", field="service_tier")


def in_order(items: Iterable[PriceItem]) -> tuple[PriceItem, ...]:
    """The items in the order they are shown and stored in: by kind, then by tier."""
    return tuple(sorted(items, key=lambda item: (_KIND_ORDER[item.kind], item.prompt_tokens_from)))


def _check_unit(index: int, item: PriceItem) -> None:
    expected = unit_of(item.kind)
    if item.unit is not expected:
        raise InvalidRequest(f"The unit of {item.kind} is {expected}.", field=f"items[{index}].unit")


def unit_of(kind: Kind) -> Unit:
    """The unit in which a kind is priced."""
    if kind in TOKEN_KINDS:
        return Unit.PER_MILLION_TOKENS
    return Unit.PER_SECOND if kind in _SECOND_KINDS else Unit.PER_COUNT


def _check_unit_price(index: int, item: PriceItem) -> None:
    field = f"items[{index}].price"
    if not item.unit_price.is_finite() or not 0 <= item.unit_price < UNIT_PRICE_MAX:
        raise InvalidRequest(f"A price is a number from 0 to below {UNIT_PRICE_MAX}.", field=field)
    decimals_max = _decimals_max(item.unit)
    if money.decimals_of(item.unit_price) > decimals_max:
        raise InvalidRequest(f"A price {item.unit} has at most {decimals_max} decimals.", field=field)


def _decimals_max(unit: Unit) -> int:
    """The decimals a unit price may have so that every amount is exact at the decimals of amounts."""
    return money.AMOUNT_DECIMALS + UNIT_EXPONENT[unit]


def _check_tiers(indexed: list[tuple[int, PriceItem]]) -> None:
    """The tiers of one kind must begin at 0, meet without gap or overlap, and end open."""
    expected: int | None = 0
    for index, item in sorted(indexed, key=lambda pair: pair[1].prompt_tokens_from):
        field = f"items[{index}].prompt_tokens"
        if expected is None or item.prompt_tokens_from < expected:
            raise InvalidRequest(f"This price of {item.kind} overlaps another one.", field=field)
        if item.prompt_tokens_from > expected:
            raise InvalidRequest(f"There is no price of {item.kind} from {expected} prompt tokens on.", field=field)
        if item.prompt_tokens_below is not None and item.prompt_tokens_below <= item.prompt_tokens_from:
            raise InvalidRequest("A tier ends above its beginning.", field=field)
        expected = item.prompt_tokens_below
    if indexed and expected is not None:
        last, item = max(indexed, key=lambda pair: pair[1].prompt_tokens_from)
        raise InvalidRequest(
            f"There is no price of {item.kind} from {expected} prompt tokens on.", field=f"items[{last}].prompt_tokens"
        )
