"""The price list of the genai-prices package, read into dated items of ours.

Every model of the list comes out either as a `ListedModel` or as `Unlisted` with the reason: what our prices cannot
say exactly is never guessed at.
"""

import decimal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import pairwise

from genai_prices import types as listed

from tollgate.kit import money
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.tokens import Kind
from tollgate.pricing import rules
from tollgate.pricing.model import STANDARD, DatedItems, PriceItem

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""When a price without a date takes effect: before any call."""

_KIND_OF: Mapping[str, Kind] = {
    "input_mtok": Kind.PROMPT,
    "cache_read_mtok": Kind.INPUT_CACHE_READ,
    "cache_write_mtok": Kind.INPUT_CACHE_WRITE,
    "cache_write_5m_mtok": Kind.INPUT_CACHE_WRITE_5M,
    "cache_write_1h_mtok": Kind.INPUT_CACHE_WRITE_1H,
    "input_audio_mtok": Kind.INPUT_AUDIO,
    "input_image_mtok": Kind.INPUT_IMAGE,
    "output_mtok": Kind.COMPLETION,
    "output_reasoning_mtok": Kind.INTERNAL_REASONING,
    "output_audio_mtok": Kind.OUTPUT_AUDIO,
    "output_image_mtok": Kind.OUTPUT_IMAGE,
    "web_searches_kcount": Kind.WEB_SEARCH,
    "requests_kcount": Kind.REQUEST,
    "audio_hours": Kind.AUDIO_SECONDS,
    "input_audio_hours": Kind.AUDIO_SECONDS,
}
_LEFT_OUT: Mapping[str, str] = {
    "cache_audio_read_mtok": "cached audio is not metered apart from other cached input",
    "cache_image_read_mtok": "cached images are not metered apart from other cached input",
    "storage_searches_kcount": "searches in stored files are not metered",
}
"""Prices of what we do not meter apart; the others of the version stand without them."""

_WRITES_WITH_A_LIFETIME = (Kind.INPUT_CACHE_WRITE_5M, Kind.INPUT_CACHE_WRITE_1H)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model at a provider, with the history of its prices by service tier."""

    provider: str
    provider_name: str
    id: str
    upstream_model: str
    """A name that the provider's API takes."""
    name: str
    description: str
    context_length: int | None
    """Tokens, where the list has it."""
    prices: Mapping[str, tuple[DatedItems, ...]]
    remarks: tuple[str, ...]
    """What the list has on this model that we leave out."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A model of the list that cannot be brought in."""

    provider: str
    id: str
    reason: str


class _Unsayable(Exception):
    """The price has no exact form among ours; the message says why."""


def read(providers: Iterable[listed.Provider]) -> Iterator[ListedModel | Unlisted]:
    """Every model of the list, in its order."""
    for provider in providers:
        for model in provider.models:
            try:
                yield _read_model(provider, model)
            except _Unsayable as error:
                yield Unlisted(provider.id, model.id, str(error))


def _read_model(provider: listed.Provider, model: listed.ModelInfo) -> ListedModel:
    remarks: set[str] = set()
    upstream_model = _upstream_model(model)
    standard = _history(model, None, remarks)
    prices = {STANDARD: standard}
    for tier in _service_tiers(model, remarks):
        history = _apart(_history(model, {"service_tier": tier}, remarks), standard)
        if history:
            prices[tier] = history
    return ListedModel(
        provider=provider.id,
        provider_name=provider.name,
        id=model.id,
        upstream_model=upstream_model,
        name=model.name or model.id,
        description=(model.description or "").strip(),
        context_length=model.context_window,
        prices=prices,
        remarks=tuple(sorted(remarks)),
    )


def _upstream_model(model: listed.ModelInfo) -> str:
    """The model's id if that is a name of it, else the first name the list spells out."""
    if model.is_match(model.id):
        return model.id
    clauses = model.match.or_ if isinstance(model.match, listed.ClauseOr) else [model.match]
    names = [clause.equals for clause in clauses if isinstance(clause, listed.ClauseEquals)]
    if not names:
        raise _Unsayable("it is known by a pattern of names only")
    return names[0]


def _service_tiers(model: listed.ModelInfo, remarks: set[str]) -> list[str]:
    """The service tiers that have prices of their own; other variants are no service tiers and are left out."""
    tiers: dict[str, None] = {}
    for variant in model.price_variants or ():
        if variant.when.keys() == {"service_tier"}:
            tiers[variant.when["service_tier"]] = None
        else:
            condition = ", ".join(f"{key} {value}" for key, value in variant.when.items())
            remarks.add(f"prices for {condition} are left out: they are no service tier")
    return list(tiers)


def _history(model: listed.ModelInfo, context: Mapping[str, str] | None, remarks: set[str]) -> tuple[DatedItems, ...]:
    """What the list itself resolves to at each of its dates, without the dates at which nothing changes."""
    dated = [DatedItems(instant, _items(model.get_prices(instant, context), remarks)) for instant in _instants(model)]
    changes = (later for earlier, later in pairwise(dated) if later.items != earlier.items)
    return (dated[0], *changes)


def _instants(model: listed.ModelInfo) -> list[datetime]:
    conditional = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
    instants = {BEGINNING}
    for price in conditional:
        if isinstance(price.constraint, listed.StartDateConstraint):
            instants.add(datetime.combine(price.constraint.start_date, time.min, UTC))
        elif price.constraint is not None:
            raise _Unsayable("its price depends on the time of day")
    return sorted(instants)


def _apart(tier: tuple[DatedItems, ...], standard: tuple[DatedItems, ...]) -> tuple[DatedItems, ...]:
    """A service tier's history from where it first differs from the standard one; nothing if it never does."""
    for position, dated in enumerate(tier):
        usual = [price for price in standard if price.effective_from <= dated.effective_from][-1]
        if dated.items != usual.items:
            return tier[position:]
    return ()


def _items(price: listed.ModelPrice, remarks: set[str]) -> tuple[PriceItem, ...]:
    items: dict[Kind, list[PriceItem]] = {}
    for key, value in vars(price).items():
        if value is None:
            continue
        if key in _LEFT_OUT:
            remarks.add(f"{key} is left out: {_LEFT_OUT[key]}")
        elif key not in _KIND_OF:
            raise _Unsayable(f"{key} prices what is not metered here")
        elif items.setdefault(_KIND_OF[key], read_items := _items_of(key, value)) != read_items:
            raise _Unsayable(f"it has two prices of {_KIND_OF[key]}")
    if not items:
        raise _Unsayable("the list has no price of it, and does not say that it is free")
    for kind in _WRITES_WITH_A_LIFETIME if Kind.INPUT_CACHE_WRITE in items else ():
        # The list's price of cache writes covers those of every lifetime that has none of its own.
        items.setdefault(kind, [replace(item, kind=kind) for item in items[Kind.INPUT_CACHE_WRITE]])
    found = rules.in_order(item for each in items.values() for item in each)
    try:
        rules.check_items(found)
    except InvalidRequest as refusal:
        raise _Unsayable(refusal.message) from refusal
    return found


def _items_of(key: str, value: Decimal | listed.TieredPrices) -> list[PriceItem]:
    """The items of one price. A listed tier is for calls of *more* than its start, ours for calls of at least it."""
    kind = _KIND_OF[key]
    convert = _conversion(key)
    if not isinstance(value, listed.TieredPrices):
        return [PriceItem(kind, convert(value), rules.unit_of(kind))]
    starts = [0, *(tier.start + 1 for tier in value.tiers)]
    unit_prices = [value.base, *(tier.price for tier in value.tiers)]
    return [
        PriceItem(kind, convert(unit_price), rules.unit_of(kind), start, end)
        for unit_price, start, end in zip(unit_prices, starts, [*starts[1:], None], strict=True)
    ]


def _conversion(key: str) -> Callable[[Decimal], Decimal]:
    if key.endswith("_kcount"):
        return lambda price: price.scaleb(-3, money.EXACT)
    return _per_second if key.endswith("_hours") else lambda price: price


def _per_second(hour: Decimal) -> Decimal:
    try:
        return money.EXACT.divide(hour, 3600)
    except decimal.Inexact as error:
        raise _Unsayable(f"{hour} an hour is no exact price a second") from error
