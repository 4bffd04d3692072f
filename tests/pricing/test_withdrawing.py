"""A price that was published for later can be withdrawn until it begins, and never once it has charged a call."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from tests.catalog.app import operator_client
from tests.metering.test_downgrade import down_to
from tests.pricing.builders import priced_endpoint

from tollgate.infra import upgrades
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.pricing import service

FAR = datetime(2100, 1, 1, tzinfo=UTC)
"""Later than the database's own clock, by which it judges what has begun."""
ENDPOINT = {"model": "openai/gpt-4.1-mini", "provider": "openai"}


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    await priced_endpoint(database, clock.now())
    async with operator_client(database, clock) as opened:
        yield opened


async def publish(client: AsyncClient, at: datetime, price: str = "5") -> str:
    kinds = ("prompt", "completion")
    items = [{"kind": kind, "price": price, "unit": "per_million_tokens"} for kind in kinds]
    answer = await client.post("/admin/prices", json={**ENDPOINT, "effective_from": at.isoformat(), "items": items})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def shown(client: AsyncClient) -> list[tuple[str, str | None, bool]]:
    """When each version begins and ends, in years, and whether it was withdrawn; the latest first."""
    listed = (await client.get("/admin/prices", params=ENDPOINT)).json()["data"]
    return [
        (
            each["effective_from"][:4],
            each["effective_to"] and each["effective_to"][:4],
            each["withdrawn_at"] is not None,
        )
        for each in listed
    ]


async def test_what_it_would_have_superseded_goes_on(client: AsyncClient, database: Database) -> None:
    scheduled = await publish(client, FAR)
    assert await shown(client) == [("2100", None, False), ("2025", "2100", False)]

    assert (await client.delete(f"/admin/prices/{scheduled}")).status_code == 204

    assert await shown(client) == [("2100", None, True), ("2025", None, False)]
    async with database.read() as session:
        book = await service.load_book(session, now=FAR)
    assert [len(shelf) for shelf in book.by_endpoint.values()] == [1, 1, 1]


async def test_one_between_two_leaves_no_gap(client: AsyncClient) -> None:
    scheduled = await publish(client, FAR)
    await publish(client, FAR.replace(year=2110))

    assert (await client.delete(f"/admin/prices/{scheduled}")).status_code == 204

    assert await shown(client) == [("2110", None, False), ("2100", "2110", True), ("2025", "2110", False)]


async def test_its_time_is_free_for_another(client: AsyncClient) -> None:
    for price in ("5", "6"):
        scheduled = await publish(client, FAR, price)
        assert (await client.delete(f"/admin/prices/{scheduled}")).status_code == 204
    await publish(client, FAR, "7")

    assert sorted(await shown(client)) == [
        ("2025", "2100", False), ("2100", None, False), ("2100", None, True), ("2100", None, True),
    ]  # fmt: skip


async def test_it_is_on_record(client: AsyncClient, clock: FixedClock) -> None:
    scheduled = await publish(client, FAR)
    clock.at += timedelta(seconds=1)
    await client.delete(f"/admin/prices/{scheduled}")

    wanted = {"kind": "price", "subject": scheduled}
    withdrawn, published = (await client.get("/admin/catalogue/changes", params=wanted)).json()["data"]

    assert (withdrawn["action"], withdrawn["subject"], withdrawn["after"]) == ("withdrawn", scheduled, None)
    assert withdrawn["before"] == published["after"]


async def test_one_that_has_begun_is_refused(client: AsyncClient, clock: FixedClock) -> None:
    begun = await publish(client, clock.now())

    refused = await client.delete(f"/admin/prices/{begun}")

    assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict")
    assert "has begun" in refused.json()["error"]["message"]
    assert [withdrawn for *_, withdrawn in await shown(client)] == [False, False]


async def test_one_that_is_about_to_begin_or_has_begun_by_the_database_is_refused(
    client: AsyncClient, clock: FixedClock
) -> None:
    # The test's clock is behind the database's: an hour from now there is long ago here.
    scheduled = await publish(client, clock.now() + timedelta(hours=1))

    late = await client.delete(f"/admin/prices/{scheduled}")
    clock.at += timedelta(minutes=59)
    too_late = await client.delete(f"/admin/prices/{scheduled}")

    assert (late.status_code, too_late.status_code) == (409, 409)
    assert "has begun meanwhile" in late.json()["error"]["message"]
    assert "is about to" in too_late.json()["error"]["message"]


async def test_one_that_is_withdrawn_or_unknown_is_refused(client: AsyncClient) -> None:
    scheduled = await publish(client, FAR)
    await client.delete(f"/admin/prices/{scheduled}")

    assert (await client.delete(f"/admin/prices/{scheduled}")).status_code == 409
    assert (await client.delete("/admin/prices/price_00000000-0000-7000-8000-000000000000")).status_code == 404
    assert (await client.delete("/admin/prices/ep_1")).status_code == 404


class TestTheDatabaseItself:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE price_versions SET withdrawn_at = now() WHERE source = 'seed'",
            "UPDATE price_versions SET effective_to = NULL WHERE effective_to IS NOT NULL",
            "UPDATE price_versions SET effective_to = '2101-01-01' WHERE effective_to IS NOT NULL",
            "UPDATE price_versions SET withdrawn_at = now(), effective_to = '2111-01-01' WHERE source = 'operator'",
            "UPDATE price_versions SET withdrawn_at = now(), service_tier = 'flex' WHERE source = 'operator'",
        ],
    )
    async def test_refuses_to_withdraw_what_has_begun_and_to_move_other_ends(
        self, client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", statement: str
    ) -> None:
        await publish(client, FAR)
        with pytest.raises(asyncpg.RestrictViolationError, match="superseded"):
            await pool.execute(statement)

    async def test_refuses_to_bring_a_withdrawn_one_back(
        self, client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        await client.delete(f"/admin/prices/{await publish(client, FAR)}")
        for change in (
            "withdrawn_at = NULL",
            "withdrawn_at = withdrawn_at + interval '1 s'",
            "effective_to = '2101-01-01'",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await pool.execute(f"UPDATE price_versions SET {change} WHERE withdrawn_at IS NOT NULL")

    async def test_moves_an_end_only_to_where_what_was_withdrawn_would_have_ended(
        self, client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        scheduled: Any = await publish(client, FAR)
        await pool.execute("UPDATE price_versions SET withdrawn_at = now() WHERE source = 'operator'")
        del scheduled
        with pytest.raises(asyncpg.RestrictViolationError):
            await pool.execute("UPDATE price_versions SET effective_to = '2101-01-01' WHERE effective_to IS NOT NULL")
        await pool.execute("UPDATE price_versions SET effective_to = NULL WHERE effective_to IS NOT NULL")

    async def test_forgets_them_if_the_migration_is_undone(
        self, client: AsyncClient, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        for _ in range(2):
            await client.delete(f"/admin/prices/{await publish(client, FAR)}")
        await down_to(database_url, "0009_recovery")
        assert await pool.fetchval("SELECT count(*) FROM price_versions WHERE source = 'operator'") == 0
        with pytest.raises(asyncpg.RestrictViolationError):
            await pool.execute("DELETE FROM price_items")
        await upgrades.upgrade(database_url)
        await publish(client, FAR)
