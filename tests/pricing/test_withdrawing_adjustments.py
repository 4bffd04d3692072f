"""An adjustment that was published for later can be withdrawn until it begins, and its scope is as before."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from httpx import AsyncClient
from tests.catalog.app import ADDRESS, OPERATOR, operator_client
from tests.pricing.builders import SOMEBODY, priced_endpoint

from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import EndpointId, PriceAdjustmentId, parse, typed
from tollgate.pricing import service
from tollgate.pricing.rules import adjusted

PATH = "/admin/price-adjustments"
FAR = datetime(2100, 1, 1, tzinfo=UTC)
"""Later than the database's own clock, by which it judges what has begun."""


@pytest.fixture
async def endpoint_id(database: Database, clock: FixedClock) -> EndpointId:
    return await priced_endpoint(database, clock.now())


@pytest.fixture
async def client(database: Database, clock: FixedClock, endpoint_id: EndpointId) -> AsyncIterator[AsyncClient]:
    del endpoint_id
    async with operator_client(database, clock) as opened:
        yield opened


async def publish(client: AsyncClient, at: datetime | None = None, percent: str = "-10", **scope: str) -> str:
    body = {"percent": percent, "effective_from": at and at.isoformat(), **scope}
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def end(client: AsyncClient, one: str, at: datetime) -> None:
    answer = await client.post(f"{PATH}/{one}/end", json={"effective_to": at.isoformat()})
    assert answer.status_code == 200, answer.text


async def withdraw(client: AsyncClient, one: str) -> None:
    answer = await client.delete(f"{PATH}/{one}")
    assert answer.status_code == 204, answer.text


async def shown(client: AsyncClient) -> list[tuple[str, str | None, bool]]:
    """When each adjustment begins and ends, in years, and whether it was withdrawn; the latest first."""
    return [
        (
            each["effective_from"][:4],
            each["effective_to"] and each["effective_to"][:4],
            each["withdrawn_at"] is not None,
        )
        for each in (await client.get(PATH)).json()["data"]
    ]


async def test_what_it_would_have_superseded_goes_on(client: AsyncClient, database: Database) -> None:
    await publish(client)
    scheduled = await publish(client, FAR, "-20")
    assert await shown(client) == [("2100", None, False), ("2026", "2100", False)]

    await withdraw(client, scheduled)

    assert await shown(client) == [("2100", None, True), ("2026", None, False)]
    async with database.read() as session:
        book = await service.load_book(session, now=FAR)
    (kept,) = book.by_owner[None][None, None]
    assert kept.percent == -10
    assert kept.effective_to is None


async def test_one_between_two_leaves_no_gap(client: AsyncClient) -> None:
    await publish(client)
    scheduled = await publish(client, FAR)
    await publish(client, FAR.replace(year=2110))

    await withdraw(client, scheduled)

    assert await shown(client) == [("2110", None, False), ("2100", "2110", True), ("2026", "2110", False)]


async def test_an_end_that_it_was_given_goes_with_it(client: AsyncClient) -> None:
    await publish(client)
    scheduled = await publish(client, FAR)
    await end(client, scheduled, FAR.replace(year=2105))

    await withdraw(client, scheduled)

    assert await shown(client) == [("2100", "2105", True), ("2026", None, False)]


async def test_what_was_ended_by_hand_stays_ended(client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await end(client, await publish(client), FAR)
    await withdraw(client, await publish(client, FAR))

    assert await shown(client) == [("2100", None, True), ("2026", "2100", False)]
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE price_adjustments SET effective_to = NULL WHERE withdrawn_at IS NULL")


async def test_its_time_is_free_for_another(client: AsyncClient) -> None:
    await publish(client)
    for percent in ("5", "6"):
        await withdraw(client, await publish(client, FAR, percent))
    await publish(client, FAR - timedelta(days=366), "7")

    assert sorted(await shown(client), key=str) == [
        ("2026", "2098", False), ("2098", None, False), ("2100", None, True), ("2100", None, True),
    ]  # fmt: skip


async def test_other_scopes_stay_as_they_are(client: AsyncClient) -> None:
    await publish(client)
    await publish(client, FAR)
    await publish(client, model="sandbox/echo")

    await withdraw(client, await publish(client, FAR, model="sandbox/echo"))

    assert sorted(await shown(client), key=str) == [
        ("2026", "2100", False), ("2026", None, False), ("2100", None, False), ("2100", None, True),
    ]  # fmt: skip


async def test_it_is_on_record(client: AsyncClient, clock: FixedClock) -> None:
    scheduled = await publish(client, FAR)
    clock.at += timedelta(seconds=1)
    await withdraw(client, scheduled)

    wanted = {"kind": "price_adjustment", "subject": scheduled}
    withdrawn, published = (await client.get("/admin/catalogue/changes", params=wanted)).json()["data"]

    assert (withdrawn["action"], withdrawn["subject"], withdrawn["after"]) == ("withdrawn", scheduled, None)
    assert withdrawn["before"] == published["after"]
    assert (withdrawn["by"], withdrawn["address"]) == (typed("key", OPERATOR.key_id), ADDRESS)
    (listed,) = (await client.get(PATH)).json()["data"]
    assert listed["withdrawn_at"] == withdrawn["at"]


async def test_one_that_has_begun_is_refused(client: AsyncClient) -> None:
    refused = await client.delete(f"{PATH}/{await publish(client)}")

    assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict")
    assert "has begun" in refused.json()["error"]["message"]
    assert await shown(client) == [("2026", None, False)]


async def test_one_that_is_withdrawn_or_unknown_is_refused(client: AsyncClient) -> None:
    scheduled = await publish(client, FAR)
    await withdraw(client, scheduled)

    assert (await client.delete(f"{PATH}/{scheduled}")).status_code == 409
    assert (await client.post(f"{PATH}/{scheduled}/end", json={})).status_code == 409
    assert (await client.delete(f"{PATH}/padj_00000000-0000-7000-8000-000000000000")).status_code == 404
    assert (await client.delete(f"{PATH}/price_1")).status_code == 404


async def test_one_that_has_not_begun_does_not_end_now_and_says_what_to_do(client: AsyncClient) -> None:
    refused = await client.post(f"{PATH}/{await publish(client, FAR)}/end", json={})

    assert (refused.status_code, refused.json()["error"]["metadata"]["field"]) == (400, "effective_to")
    assert "can be withdrawn" in refused.json()["error"]["message"]


async def test_a_version_that_a_withdrawn_one_made_is_still_found_again(
    client: AsyncClient, database: Database, endpoint_id: EndpointId
) -> None:
    """Should a call of the very moment of the withdrawal have been charged by it."""
    scheduled = await publish(client, FAR)
    async with database.read() as session:
        book = await service.load_book(session, now=FAR)
    (general,), (adjustment,) = book.versions(endpoint_id), book.by_owner[None][None, None]
    made = adjusted(general, adjustment)
    await withdraw(client, scheduled)

    async with database.read() as session:
        found = await service.versions(session, {made.id: endpoint_id}, organization_id=SOMEBODY)

    assert adjustment.id == PriceAdjustmentId(parse("padj", scheduled))
    assert found == {made.id: made}


class TestTheDatabaseItself:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE price_adjustments SET withdrawn_at = now() WHERE percent = -10",
            "UPDATE price_adjustments SET effective_to = NULL WHERE percent = -10",
            "UPDATE price_adjustments SET effective_to = '2101-01-01' WHERE percent = -10",
            "UPDATE price_adjustments SET ended_at = now() WHERE percent = -10",
            "UPDATE price_adjustments SET withdrawn_at = now(), percent = 1 WHERE percent = -20",
            "UPDATE price_adjustments SET withdrawn_at = now(), effective_to = '2111-01-01' WHERE percent = -20",
        ],
    )
    async def test_refuses_to_withdraw_what_has_begun_and_to_move_other_ends(
        self, client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", statement: str
    ) -> None:
        await publish(client)
        await publish(client, FAR, "-20")
        with pytest.raises(asyncpg.RestrictViolationError, match="superseded"):
            await pool.execute(statement)

    async def test_refuses_to_bring_a_withdrawn_one_back(
        self, client: AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]"
    ) -> None:
        await withdraw(client, await publish(client, FAR))
        for change in ("withdrawn_at = NULL", "effective_to = '2101-01-01'"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await pool.execute(f"UPDATE price_adjustments SET {change}")
