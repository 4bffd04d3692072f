"""Prices in a real database: superseded, never edited, never overlapping."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from tests.pricing.builders import per_million, priced_endpoint

from tollgate.catalog import seed as catalogue_seed
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing import seed, service
from tollgate.pricing.model import STANDARD, PriceDraft, PriceItem, PriceVersion, Source
from tollgate.pricing.rules import rate


@pytest.fixture
async def endpoint_id(database: Database, clock: FixedClock) -> EndpointId:
    """An endpoint that has the seed's price."""
    return await priced_endpoint(database, clock.now())


def a_draft(endpoint_id: EndpointId, effective_from: datetime, price: str = "1", tier: str = STANDARD) -> PriceDraft:
    items: tuple[PriceItem, ...] = (per_million(Kind.COMPLETION, "2"), per_million(Kind.PROMPT, price))
    return PriceDraft(endpoint_id, None, tier, effective_from, items)


async def publish(database: Database, draft: PriceDraft, now: datetime) -> PriceVersion:
    async with database.write() as session:
        return (await service.publish(session, draft, act=Act(now))).version


async def versions_of(database: Database, endpoint_id: EndpointId, now: datetime) -> tuple[PriceVersion, ...]:
    async with database.read() as session:
        return (await service.load_book(session, now=now)).versions(endpoint_id)


class TestPublish:
    async def test_supersedes_the_version_in_force(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        tomorrow = clock.now() + timedelta(days=1)

        await publish(database, a_draft(endpoint_id, tomorrow), clock.now())

        new, old = await versions_of(database, endpoint_id, clock.now())
        assert (old.effective_to, new.effective_from, new.effective_to) == (tomorrow, tomorrow, None)

    async def test_keeps_the_items_in_the_order_of_kinds(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        published = await publish(database, a_draft(endpoint_id, clock.now()), clock.now())

        assert [item.kind for item in published.items] == [Kind.PROMPT, Kind.COMPLETION]
        assert published in await versions_of(database, endpoint_id, clock.now())

    async def test_leaves_what_an_earlier_call_cost_as_it_was(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        usage = UsageQuantities({Kind.PROMPT: 1_000})
        (before,) = await versions_of(database, endpoint_id, clock.now())

        await publish(database, a_draft(endpoint_id, clock.now(), "9"), clock.now())

        after = {version.id: version for version in await versions_of(database, endpoint_id, clock.now())}
        assert rate(usage, after[before.id]) == rate(usage, before)

    async def test_refuses_the_past(self, database: Database, clock: FixedClock, endpoint_id: EndpointId) -> None:
        with pytest.raises(InvalidRequest, match="now or later") as refusal:
            await publish(database, a_draft(endpoint_id, clock.now() - timedelta(seconds=1)), clock.now())
        assert refusal.value.field == "effective_from"

    @pytest.mark.parametrize("days", [1, 2])
    async def test_refuses_to_come_before_or_with_a_version_already_published(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId, days: int
    ) -> None:
        await publish(database, a_draft(endpoint_id, clock.now() + timedelta(days=2)), clock.now())

        with pytest.raises(InvalidRequest, match="published already") as refusal:
            await publish(database, a_draft(endpoint_id, clock.now() + timedelta(days=days)), clock.now())
        assert refusal.value.field == "effective_from"

    async def test_lets_the_first_version_of_a_tier_begin_in_the_past(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        past = clock.now() - timedelta(days=400)

        flex = await publish(database, a_draft(endpoint_id, past, tier="flex"), clock.now())

        assert flex.effective_from == past
        assert len(await versions_of(database, endpoint_id, clock.now())) == 2

    async def test_refuses_a_tier_that_is_no_word(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            await publish(database, a_draft(endpoint_id, clock.now(), tier="Batch 2"), clock.now())
        assert refusal.value.field == "service_tier"


class TestPublishHistories:
    async def test_lets_each_version_end_where_the_next_begins(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        starts = [datetime(year, 1, 1, tzinfo=UTC) for year in (2024, 2025, 2026)]
        drafts = [a_draft(endpoint_id, start, tier="flex") for start in starts]

        async with database.write() as session:
            versions = await service.publish_histories(session, [drafts], act=Act(clock.now()), source=Source.IMPORT)

        assert [version.effective_from for version in versions] == starts
        assert [version.effective_to for version in versions] == [*starts[1:], None]

    async def test_refuses_an_endpoint_that_has_prices(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        drafts = [a_draft(endpoint_id, clock.now())]

        async with database.write() as session:
            with pytest.raises(Conflict):
                await service.publish_histories(session, [drafts], act=Act(clock.now()), source=Source.IMPORT)

    async def test_refuses_a_history_out_of_order(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        drafts = [a_draft(endpoint_id, clock.now(), tier="flex"), a_draft(endpoint_id, clock.now(), tier="flex")]

        async with database.write() as session:
            with pytest.raises(InvalidRequest, match="in order of time"):
                await service.publish_histories(session, [drafts], act=Act(clock.now()), source=Source.IMPORT)


class TestLoadBook:
    async def test_keeps_what_ended_within_the_last_hour(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        await publish(database, a_draft(endpoint_id, clock.now()), clock.now())

        soon, late = (clock.now() + timedelta(minutes=minutes) for minutes in (59, 60))
        assert len(await versions_of(database, endpoint_id, soon)) == 2
        assert len(await versions_of(database, endpoint_id, late)) == 1

    async def test_reads_back_the_prices_of_the_seed(
        self, database: Database, clock: FixedClock, endpoint_id: EndpointId
    ) -> None:
        (version,) = await versions_of(database, endpoint_id, clock.now())

        assert version.effective_from == datetime(2025, 4, 14, tzinfo=UTC)
        assert [item.unit_price for item in version.items] == [Decimal("0.4"), Decimal("0.1"), Decimal("1.6")]


async def test_history_is_paged_with_the_latest_to_take_effect_first(
    database: Database, clock: FixedClock, endpoint_id: EndpointId
) -> None:
    for days in (1, 2, 3):
        await publish(database, a_draft(endpoint_id, clock.now() + timedelta(days=days)), clock.now())

    async with database.read() as session:
        first = await service.history(session, endpoint_id, before=None, count=2)
        rest = await service.history(session, endpoint_id, before=first[-1].version.id, count=10)

    starts = [publication.version.effective_from for publication in (*first, *rest)]
    assert starts == sorted(starts, reverse=True)
    assert len(starts) == 4
    assert rest[-1].source is Source.SEED


async def test_seeding_prices_again_publishes_nothing(database: Database, clock: FixedClock) -> None:
    endpoint_id = await priced_endpoint(database, clock.now())
    before = await versions_of(database, endpoint_id, clock.now())

    async with database.write() as session:
        await seed.seed(session, await catalogue_seed.seed(session, clock.now()), clock.now())

    assert await versions_of(database, endpoint_id, clock.now()) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM price_versions",
        "DELETE FROM price_items",
        "UPDATE price_items SET unit_price = 0",
        "UPDATE price_versions SET service_tier = 'flex'",
        "UPDATE price_versions SET effective_from = effective_from - interval '1 day'",
        "UPDATE price_versions SET effective_to = 'tomorrow', endpoint_id = gen_random_uuid()",
        "INSERT INTO price_items SELECT price_version_id, 3, 'request', 1, 'per_count', 0 FROM price_items LIMIT 1",
    ],
)
async def test_the_database_itself_refuses_to_rewrite_a_published_price(
    pool: "asyncpg.Pool[asyncpg.Record]", endpoint_id: EndpointId, statement: str
) -> None:
    del endpoint_id
    with pytest.raises(asyncpg.RestrictViolationError, match="superseded"):
        await pool.execute(statement)


async def test_the_database_itself_refuses_to_move_an_end(
    pool: "asyncpg.Pool[asyncpg.Record]", endpoint_id: EndpointId
) -> None:
    del endpoint_id
    await pool.execute("UPDATE price_versions SET effective_to = '2030-01-01'")

    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE price_versions SET effective_to = '2031-01-01'")


async def test_the_database_itself_refuses_overlapping_versions(
    pool: "asyncpg.Pool[asyncpg.Record]", endpoint_id: EndpointId
) -> None:
    with pytest.raises(asyncpg.ExclusionViolationError):
        await pool.execute(
            """INSERT INTO price_versions
               (id, endpoint_id, service_tier, effective_from, item_count, source, published_at)
               VALUES (gen_random_uuid(), $1, 'standard', '2026-01-01', 1, 'operator', '2026-01-01')""",
            endpoint_id,
        )


async def test_every_change_moves_the_revision_and_is_announced(
    database: Database, pool: "asyncpg.Pool[asyncpg.Record]", clock: FixedClock, endpoint_id: EndpointId
) -> None:
    heard: list[int] = []

    def hear(*notification: object) -> None:
        heard.append(int(str(notification[-1])))

    async with pool.acquire() as listener:
        await listener.add_listener("catalogue_changed", hear)
        before = await listener.fetchval("SELECT revision FROM catalogue_revision")
        await publish(database, a_draft(endpoint_id, clock.now()), clock.now())
        after = await listener.fetchval("SELECT revision FROM catalogue_revision")
        await listener.remove_listener("catalogue_changed", hear)

    assert after > before
    assert heard[-1] == after
