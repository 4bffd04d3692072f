"""Prices for tests: valid by default, every part by name."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from tollgate.catalog import seed as catalogue_seed
from tollgate.infra.database import Database
from tollgate.kit.ids import EndpointId, OrganizationId, PriceVersionId
from tollgate.kit.tokens import Kind
from tollgate.pricing import seed
from tollgate.pricing.model import STANDARD, PriceItem, PriceVersion, Unit
from tollgate.pricing.rules import price_in_force

ENDPOINT = EndpointId(UUID(int=1))
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
    somebody = OrganizationId(UUID(int=9))
    return price_in_force(versions, endpoint_id=ENDPOINT, organization_id=somebody, service_tier=STANDARD, at=instant)


async def priced_endpoint(database: Database, now: datetime) -> EndpointId:
    """The seeded endpoint of gpt-4.1-mini at OpenAI, with its price."""
    async with database.write() as session:
        endpoints = await catalogue_seed.seed(session, now)
        await seed.seed(session, endpoints, now)
    return endpoints["openai/gpt-4.1-mini", "openai"]
