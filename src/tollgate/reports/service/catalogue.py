"""The public catalogue: every model with its endpoints, their prices in force, how they do, and how much it is used.

Anyone may ask, without a key and as often as they like, so it is kept in memory. Catalogue and prices are read anew
when they changed; statistics, which change with every call, when they are a second old, or later if reading takes long.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from litestar.datastructures import State

from tollgate.catalog import service as catalog
from tollgate.catalog.model import Catalogue, Provider
from tollgate.catalog.rules import is_routable
from tollgate.infra.database import ReadSession
from tollgate.kit.errors import ModelNotFound
from tollgate.kit.ids import PLATFORM, EndpointId
from tollgate.pricing import rules as rating
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, PriceBook
from tollgate.reports import rules
from tollgate.reports.model import DayOfTokens, Listing, ModelMoved, Offer
from tollgate.reports.store import usage as store
from tollgate.statistics import service as statistics
from tollgate.statistics.model import EndpointStatistics

FRESH_FOR = timedelta(seconds=1)
_LEISURE = 20
"""How many times as long as it took to read a figure is kept, so that asking cannot make reading all there is."""


@dataclass(frozen=True, slots=True)
class _Edition:
    """What there is to see at one revision of catalogue and prices, for as long as no price begins or ends.

    Models that are retired are in it, for their pages stay; what follows from the hour alone is told when asked.
    """

    revision: int
    since: datetime
    until: datetime | None
    providers: list[Provider]
    listings: dict[str, Listing]
    aliases: Mapping[str, str]
    activity: dict[str, "_Activity"] = field(default_factory=dict)
    """Of the models that were asked about."""

    def is_current(self, revision: int, now: datetime) -> bool:
        return revision == self.revision and self.since <= now and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was read at one moment, and for how long it is told: at least a second, and longer if reading took long."""

    at: datetime
    until: datetime

    def is_current(self, now: datetime) -> bool:
        return self.at <= now < self.until


@dataclass(frozen=True, slots=True)
class _Activity(_Kept):
    """How much a model was used, up to one moment."""

    days: list[DayOfTokens]


@dataclass(frozen=True, slots=True)
class _Figures(_Kept):
    """How endpoints were doing at one moment."""

    by_endpoint: Mapping[EndpointId, EndpointStatistics]
    nothing: EndpointStatistics
    """Of the endpoints of which nothing is known."""

    def shown_in(self, listing: Listing) -> Listing:
        """The model with the statistics of its endpoints."""
        offers = (
            replace(offer, statistics=self.by_endpoint.get(offer.endpoint.id, self.nothing)) for offer in listing.offers
        )
        return replace(listing, offers=tuple(offers))


class PublicCatalogue:
    """What anyone may see of one database, where calls can be sent to from one environment.

    A question costs one small query, for the revision; statistics are added up in a twentieth of the time at most,
    however many ask. What is kept is one edition, so it is as large as the catalogue.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._edition: _Edition | None = None
        self._reading = asyncio.Lock()
        self._figures: _Figures | None = None
        self._adding_up = asyncio.Lock()

    async def listings(self, session: ReadSession, *, now: datetime) -> list[Listing]:
        """Every model that is not retired, in order of slug.

        Offers say whether calls can be sent to them, and how they have been doing.
        """
        edition, figures = await self._current(session, now), await self._current_figures(session, now)
        listings = (listing for listing in edition.listings.values() if not listing.model.is_retired(now))
        return [figures.shown_in(listing) for listing in listings]

    async def listing(self, session: ReadSession, slug: str, *, now: datetime) -> Listing:
        """One model, retired or not.

        Raises:
            ModelMoved: the slug is an alias.
            ModelNotFound: there is none of this slug.
        """
        listing = _found(await self._current(session, now), slug)
        return (await self._current_figures(session, now)).shown_in(listing)

    async def providers(self, session: ReadSession, *, now: datetime) -> list[Provider]:
        """Every provider, in order of slug."""
        return (await self._current(session, now)).providers

    async def activity(self, session: ReadSession, slug: str, *, days: int, now: datetime) -> list[DayOfTokens]:
        """What everyone together had the model read and write, on each of the last days of UTC, today included.

        It is a second old at most, or as much older as reading it takes long.

        Raises:
            ModelMoved: the slug is an alias.
            ModelNotFound: there is none of this slug.
        """
        edition = await self._current(session, now)
        _found(edition, slug)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._reading:
            known = edition.activity.get(slug)
            if known is None or not known.is_current(now):
                since = today - timedelta(days=rules.ACTIVITY_DAYS_MAX - 1)
                began = asyncio.get_running_loop().time()
                read = await store.activity(session, model=slug, since=since)
                known = edition.activity[slug] = _Activity(now, _told_until(now, began=began), read)
        return rules.every_day(known.days, since=(today - timedelta(days=days - 1)).date(), days=days)

    async def _current(self, session: ReadSession, now: datetime) -> _Edition:
        revision = await catalog.current_revision(session)
        async with self._reading:
            if self._edition is None or not self._edition.is_current(revision, now):
                self._edition = await _read(session, self._environment, now)
            return self._edition

    async def _current_figures(self, session: ReadSession, now: datetime) -> _Figures:
        async with self._adding_up:
            if self._figures is None or not self._figures.is_current(now):
                self._figures = await _read_figures(session, now)
            return self._figures


async def _read_figures(session: ReadSession, now: datetime) -> _Figures:
    began = asyncio.get_running_loop().time()
    by_endpoint = await statistics.statistics(session, now=now)
    return _Figures(
        at=now,
        until=_told_until(now, began=began),
        by_endpoint=by_endpoint,
        nothing=statistics.nothing_known(now=now),
    )


def _told_until(now: datetime, *, began: float) -> datetime:
    """Until when to tell what was read since then, by the loop's time."""
    took = timedelta(seconds=asyncio.get_running_loop().time() - began)
    return now + max(FRESH_FOR, took * _LEISURE)


def shared_in(state: State, environment: Mapping[str, str]) -> PublicCatalogue:
    """The catalogue that everything sharing this state shares, made when it is first asked for."""
    shared: PublicCatalogue = state.setdefault("public_catalogue", PublicCatalogue(environment))
    return shared


def _found(edition: _Edition, slug: str) -> Listing:
    if slug in edition.aliases:
        raise ModelMoved(slug, edition.aliases[slug])
    if slug not in edition.listings:
        raise ModelNotFound(f"There is no model {slug[:200]!r}.", field="model")
    return edition.listings[slug]


async def _read(session: ReadSession, environment: Mapping[str, str], now: datetime) -> _Edition:
    catalogue = await catalog.load_catalogue(session)
    book = await pricing.load_book(session, now=now)
    return _Edition(
        revision=catalogue.revision,
        since=now,
        until=rules.next_change(book, now),
        providers=[catalogue.providers[slug] for slug in sorted(catalogue.providers)],
        listings={
            slug: _listing(slug, catalogue, book, environment=environment, now=now) for slug in sorted(catalogue.models)
        },
        aliases=catalogue.aliases,
    )


def _listing(
    slug: str, catalogue: Catalogue, book: PriceBook, *, environment: Mapping[str, str], now: datetime
) -> Listing:
    offers = []
    for endpoint in catalogue.endpoints_of(slug):
        provider = catalogue.providers[endpoint.provider]
        # PLATFORM has no price or adjustment of its own, so this is what everybody pays, and everyone may know it.
        price = rating.prices_in_force(
            book,
            endpoint_id=endpoint.id,
            model=endpoint.model,
            provider=endpoint.provider,
            organization_id=PLATFORM,
            at=now,
        ).get(STANDARD)
        routable = endpoint.enabled and is_routable(provider, environment)
        offers.append(Offer(endpoint=endpoint, provider=provider, price=price, routable=routable))
    aliases = tuple(sorted(alias for alias, named in catalogue.aliases.items() if named == slug))
    return Listing(catalogue.models[slug], tuple(offers), aliases)
