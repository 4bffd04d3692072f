"""Prices for tests: valid by default, every part by name."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tollgate.catalog import seed as catalogue_seed
from tollgate.infra.database import Database
from tollgate.kit.ids import EndpointId, OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.kit.tokens import Kind
from tollgate.pricing import seed
from tollgate.pricing.model import STANDARD, PriceAdjustment, PriceBook, PriceItem, PriceVersion, Unit
from tollgate.pricing.rules import prices_in_force

ENDPOINT = EndpointId(UUID(int=1))
MODEL, PROVIDER = "acme/model", "acme"
SOMEBODY = OrganizationId(UUID(int=9))
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


def per_million(kind: Kind, price: str, start: int = 0, end: int | None = None) -> PriceItem:
    """A price for a million tokens of a kind."""
    return PriceItem(kind, Decimal(price), Unit.PER_MILLION_TOKENS, start, end)


def free(kind: Kind) -> PriceItem:
    """A kind that costs nothing."""
    return per_million(kind, "0")


def tiers(kind: Kind, lower: str, upper: str, *, boundary: int = 200_000) -> tuple[PriceItem, PriceItem]:
    """Two prices of a kind, the upper one from the boundary on."""
    return per_million(kind, lower, 0, boundary), per_million(kind, upper, boundary)


def a_price(
    *items: PriceItem,
    organization_id: OrganizationId | None = None,
    service_tier: str = STANDARD,
    since: datetime = JANUARY,
    until: datetime | None = None,
) -> PriceVersion:
    """A version of these items."""
    return PriceVersion(PriceVersionId(UUID(int=2)), ENDPOINT, organization_id, service_tier, since, until, items)


def at(versions: Iterable[PriceVersion], instant: datetime) -> PriceVersion | None:
    """The general standard version in force at an instant."""
    return in_force(PriceBook.of(versions), at=instant).get(STANDARD)


def in_force(
    book: PriceBook, *, at: datetime, organization_id: OrganizationId = SOMEBODY
) -> Mapping[str, PriceVersion]:
    """What charges a call of the endpoint, by service tier."""
    return prices_in_force(
        book, endpoint_id=ENDPOINT, model=MODEL, provider=PROVIDER, organization_id=organization_id, at=at
    )


def an_adjustment(percent: str, *, number: int = 3, since: datetime = JANUARY, **parts: Any) -> PriceAdjustment:
    """An adjustment, of every price of everybody and without an end unless said otherwise."""
    open_parts: dict[str, Any] = dict.fromkeys(("organization_id", "model", "provider", "effective_to"))
    return PriceAdjustment(
        id=PriceAdjustmentId(UUID(int=number)),
        percent=Decimal(percent),
        effective_from=since,
        **{**open_parts, **parts},
    )


async def priced_endpoint(database: Database, now: datetime) -> EndpointId:
    """The seeded endpoint of gpt-4.1-mini at OpenAI, with its price."""
    async with database.write() as session:
        endpoints = await catalogue_seed.seed(session, now)
        await seed.seed(session, endpoints, now)
    return endpoints["openai/gpt-4.1-mini", "openai"]
