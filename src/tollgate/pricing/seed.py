"""The prices every installation starts with, per million tokens, in force since before any call."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from tollgate.infra.changes import Act
from tollgate.infra.database import WriteSession
from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import Kind
from tollgate.pricing import service, store
from tollgate.pricing.model import STANDARD, PriceDraft, PriceItem, Source, Unit

EFFECTIVE_FROM = datetime(2025, 4, 14, tzinfo=UTC)


def _items(*, prompt: str, cache_read: str, completion: str) -> tuple[PriceItem, ...]:
    return (
        PriceItem(Kind.PROMPT, Decimal(prompt), Unit.PER_MILLION_TOKENS),
        PriceItem(Kind.INPUT_CACHE_READ, Decimal(cache_read), Unit.PER_MILLION_TOKENS),
        PriceItem(Kind.COMPLETION, Decimal(completion), Unit.PER_MILLION_TOKENS),
    )


ITEMS = {
    ("openai/gpt-4.1-mini", "openai"): _items(prompt="0.4", cache_read="0.1", completion="1.6"),
    ("openai/gpt-4.1-mini", "azure"): _items(prompt="0.4", cache_read="0.1", completion="1.6"),
    ("sandbox/echo", "sandbox"): _items(prompt="1", cache_read="0.1", completion="2"),
}
"""By model and provider."""


async def seed(session: WriteSession, endpoint_ids: Mapping[tuple[str, str], EndpointId], now: datetime) -> None:
    """Publish the prices of seeded endpoints that have none yet."""
    for pair, items in ITEMS.items():
        draft = PriceDraft(endpoint_ids[pair], None, STANDARD, EFFECTIVE_FROM, items)
        present = await store.timeline(
            session, endpoint_id=draft.endpoint_id, organization_id=None, service_tier=STANDARD
        )
        if not present:
            await service.publish(session, draft, act=Act(now), source=Source.SEED)
