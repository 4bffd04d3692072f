"""The public catalogue: every model with its endpoints, their prices in force, and how much it is used."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from tollgate.catalog import service as catalog
from tollgate.catalog.model import Catalogue, Provider
from tollgate.catalog.rules import is_routable
from tollgate.infra.database import ReadSession
from tollgate.kit.errors import ModelNotFound
from tollgate.kit.ids import PLATFORM
from tollgate.pricing import rules as rating
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, PriceBook
from tollgate.reports import rules
from tollgate.reports.model import DayOfTokens, Listing, Offer
from tollgate.reports.store import usage as store


async def listings(session: ReadSession, *, environment: Mapping[str, str], now: datetime) -> list[Listing]:
    """Every model, in order of slug. Offers say whether calls can be sent to them from this environment."""
    catalogue = await catalog.load_catalogue(session)
    book = await pricing.load_book(session, now=now)
    return [_listing(slug, catalogue, book, environment=environment, now=now) for slug in sorted(catalogue.models)]


async def listing(session: ReadSession, slug: str, *, environment: Mapping[str, str], now: datetime) -> Listing:
    """One model.

    Raises:
        ModelNotFound: there is none of this slug.
    """
    catalogue = await catalog.load_catalogue(session)
    if slug not in catalogue.models:
        raise ModelNotFound(f"There is no model {slug[:200]!r}.", field="model")
    book = await pricing.load_book(session, now=now)
    return _listing(slug, catalogue, book, environment=environment, now=now)


def _listing(
    slug: str, catalogue: Catalogue, book: PriceBook, *, environment: Mapping[str, str], now: datetime
) -> Listing:
    offers = []
    for endpoint in catalogue.endpoints_of(slug):
        provider = catalogue.providers[endpoint.provider]
        # PLATFORM has no price of its own, so this is the general one, which everyone may know.
        price = rating.price_in_force(
            book.versions(endpoint.id),
            endpoint_id=endpoint.id,
            organization_id=PLATFORM,
            service_tier=STANDARD,
            at=now,
        )
        routable = endpoint.enabled and is_routable(provider, environment)
        offers.append(Offer(endpoint=endpoint, provider=provider, price=price, routable=routable))
    return Listing(catalogue.models[slug], tuple(offers))


async def providers(session: ReadSession) -> list[Provider]:
    """Every provider, in order of slug."""
    catalogue = await catalog.load_catalogue(session)
    return [catalogue.providers[slug] for slug in sorted(catalogue.providers)]


async def activity(session: ReadSession, slug: str, *, days: int, now: datetime) -> list[DayOfTokens]:
    """What everyone together had the model read and write, on each of the last days of UTC, today included.

    Raises:
        ModelNotFound: there is none of this slug.
    """
    catalogue = await catalog.load_catalogue(session)
    if slug not in catalogue.models:
        raise ModelNotFound(f"There is no model {slug[:200]!r}.", field="model")
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    return rules.every_day(await store.activity(session, model=slug, since=since), since=since.date(), days=days)
