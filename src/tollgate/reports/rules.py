"""What a report covers and how its figures are derived, with no I/O: windows, pieces, speeds, and safe cells."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tollgate.kit import instants, money, period
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import PriceAdjustment, PriceBook, PriceVersion
from tollgate.pricing.rules import rate
from tollgate.reports.model import (
    Asked,
    DayOfTokens,
    Granularity,
    Listing,
    ListingFilter,
    ListingOrder,
    Offer,
)

ROWS_MAX = 100_000
"""The most rows one report may have."""
ACTIVITY_DAYS_MAX = 90
"""How far back a model's activity is told."""

_SHORTEST_PIECE = {
    Granularity.QUARTER_HOUR: timedelta(minutes=15),
    Granularity.HOUR: timedelta(hours=1),
    Granularity.DAY: timedelta(hours=23),
    Granularity.MONTH: timedelta(days=28),
}
_COMMON_CALL = UsageQuantities({Kind.REQUEST: 1, Kind.PROMPT: 3000, Kind.COMPLETION: 1000})
"""What prices of different shapes are compared by: three tokens read for each one written."""

UTC_ZONE = ZoneInfo("UTC")

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def named_zone(name: str | None, *, default: ZoneInfo) -> ZoneInfo:
    """The IANA zone of this name.

    Raises:
        InvalidRequest: there is none; `field` is "timezone".
    """
    if name is None:
        return default
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(f"{name[:80]!r} is not an IANA time zone.", field="timezone") from error


def window(asked: Asked, *, zone: ZoneInfo) -> Period | None:
    """The stretch of time asked for, in UTC; a month is one of the zone. `None` if none was asked for.

    Raises:
        InvalidRequest: it is named twice, half, backwards, or in a year that cannot be; `field` says where.
    """
    if asked.month is not None:
        if asked.start is not None or asked.end is not None:
            raise InvalidRequest("Name either a month, or a start and an end.", field="month")
        return _month(asked.month, zone)
    if asked.start is None and asked.end is None:
        return None
    if asked.start is None or asked.end is None:
        raise InvalidRequest("A start and an end go together.", field="start" if asked.start is None else "end")
    found = Period(_instant(asked.start, "start"), _instant(asked.end, "end"))
    if found.end <= found.start:
        raise InvalidRequest("The end comes after the start.", field="end")
    return found


def _month(text: str, zone: ZoneInfo) -> Period:
    try:
        found = period.parse_month(text, zone)
    except period.NotAMonth as error:
        raise InvalidRequest(f"month: {error}.", field="month") from error
    instants.check(found.start, "month")
    return found


def _instant(given: datetime, field: str) -> datetime:
    instants.check(given, field)
    return given.astimezone(UTC)


def check_quarter_hours(window: Period) -> None:
    """Usage is kept by quarter-hours of UTC, so a report begins and ends on one.

    Raises:
        InvalidRequest: it does not; `field` is the end at fault.
    """
    for field, instant in (("start", window.start), ("end", window.end)):
        if period.quarter_hour(instant) != instant:
            raise InvalidRequest(
                f"{field}: usage is kept by quarter-hours; use one of :00, :15, :30 or :45.", field=field
            )


def pieces(window: Period, granularity: Granularity, zone: ZoneInfo) -> Sequence[Period]:
    """The window cut into pieces of the zone's calendar, which tile it.

    Raises:
        InvalidRequest: there would be more than a report may have rows; `field` is "granularity".
    """
    shortest = _SHORTEST_PIECE.get(granularity)
    if shortest is not None and (window.end - window.start) // shortest > ROWS_MAX:
        raise too_many_rows()
    return list(period.split(window, granularity, zone))


def too_many_rows() -> InvalidRequest:
    """The refusal of a report that would be too long."""
    return InvalidRequest(
        f"This report has more than {ROWS_MAX:,} rows; ask for coarser pieces, fewer groups or a shorter window.",
        field="granularity",
    )


def throughput(completion_tokens: int, generation_ms: int | None) -> float | None:
    """Output tokens per second over the whole generation time, to two decimals; `None` without output or time."""
    if not completion_tokens or not generation_ms:
        return None
    hundredths = (2 * completion_tokens * 100_000 + generation_ms) // (2 * generation_ms)
    return hundredths / 100


def remaining(limit: Decimal | None, *, used: Decimal, held: Decimal) -> Decimal | None:
    """What a new call may still use of a limit; `None` where there is no limit."""
    if limit is None:
        return None
    return max(money.EXACT.subtract(limit, money.EXACT.add(used, held)), money.ZERO)


def every_day(used: Sequence[DayOfTokens], *, since: date, days: int) -> list[DayOfTokens]:
    """So many days from `since` on; on those that are not among the used ones nothing was used."""
    known = {each.day: each for each in used}
    wanted = (since + timedelta(days=number) for number in range(days))
    return [known.get(day, DayOfTokens(day, 0, 0)) for day in wanted]


def matches(listing: Listing, wanted: ListingFilter) -> bool:
    """Whether the model is among those wanted."""
    model = listing.model
    text = (wanted.text or "").casefold()
    supported = {parameter for offer in listing.offers for parameter in offer.endpoint.supported_parameters}
    return (
        any(text in name.casefold() for name in (model.slug, model.name, *listing.aliases))
        and wanted.author in {None, model.author}
        and supported.issuperset(wanted.supported_parameters)
        and set(model.input_modalities).issuperset(wanted.input_modalities)
        and set(model.output_modalities).issuperset(wanted.output_modalities)
        and (not _concerns_offers(wanted) or any(_offers(offer, wanted) for offer in listing.offers))
    )


def _concerns_offers(wanted: ListingFilter) -> bool:
    return bool(wanted.providers or wanted.protocols) or (wanted.context_length, wanted.max_price) != (None, None)


def _offers(offer: Offer, wanted: ListingFilter) -> bool:
    endpoint = offer.endpoint
    return (
        (not wanted.providers or offer.provider.slug in wanted.providers)
        and set(endpoint.protocols).issuperset(wanted.protocols)
        and (wanted.context_length is None or (endpoint.context_length or 0) >= wanted.context_length)
        and (wanted.max_price is None or _costs_at_most(wanted.max_price, offer.price))
    )


def _costs_at_most(ceiling: Decimal, price: PriceVersion | None) -> bool:
    prompts = [] if price is None else [item.unit_price for item in price.items if item.kind is Kind.PROMPT]
    return bool(prompts) and max(prompts) <= ceiling


def sorted_listings(listings: Sequence[Listing], order: ListingOrder) -> list[Listing]:
    """The models in that order; those alike in it by slug."""
    name = order.removeprefix("-")
    by_slug = sorted(listings, key=lambda listing: listing.model.slug)
    known = [(key, listing) for listing in by_slug if (key := _SORT_KEYS[name](listing)) is not None]
    largest_first = (name in _LARGEST_FIRST) is not order.startswith("-")
    known.sort(key=lambda pair: pair[0], reverse=largest_first)
    return [listing for _, listing in known] + [each for each in by_slug if _SORT_KEYS[name](each) is None]


def _cost_of_listing(listing: Listing) -> Decimal | None:
    price = cheapest_price(listing.offers)
    return None if price is None else _cost(price)


_SORT_KEYS: Mapping[str, Callable[[Listing], Any]] = {
    ListingOrder.ID: lambda listing: listing.model.slug,
    ListingOrder.CREATED: lambda listing: listing.model.created_at,
    ListingOrder.PRICE: _cost_of_listing,
    ListingOrder.CONTEXT_LENGTH: lambda listing: listing.context_length,
}
"""What models are sorted by; `None` is not known."""
_LARGEST_FIRST = frozenset({ListingOrder.CREATED, ListingOrder.CONTEXT_LENGTH})


def models_by_provider(listings: Iterable[Listing]) -> Mapping[str, int]:
    """How many of the models each provider offers."""
    return Counter(offer.provider.slug for listing in listings for offer in listing.offers)


def cheapest_price(offers: Sequence[Offer]) -> PriceVersion | None:
    """The price of the offer that charges least for a common call; `None` if none has a price."""
    return min((offer.price for offer in offers if offer.price is not None), key=_cost, default=None)


def _cost(price: PriceVersion) -> Decimal:
    return rate(_COMMON_CALL, price).amount


def previewed_month(named: str | None, *, now: datetime) -> Period:
    """The calendar month of UTC of this name, as in 2026-11; without one, the last that is over.

    Raises:
        InvalidRequest: it is no month; `field` is "month".
    """
    if named is not None:
        return _month(named, UTC_ZONE)
    return period.month_of(period.month_of(now, UTC_ZONE).start - timedelta(microseconds=1), UTC_ZONE)


def next_change(book: PriceBook, now: datetime) -> datetime | None:
    """When the next price, or adjustment of prices, begins or ends; `None` if none will."""
    versions = chain.from_iterable(book.by_endpoint.values())
    adjustments = (one for scopes in book.by_owner.values() for shelf in scopes.values() for one in shelf)
    ends = (
        instant
        for dated in chain[PriceVersion | PriceAdjustment](versions, adjustments)
        for instant in (dated.effective_from, dated.effective_to)
        if instant is not None and instant > now
    )
    return min(ends, default=None)


def safe_cell(text: str) -> str:
    """The text as a spreadsheet cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
