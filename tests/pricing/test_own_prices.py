"""An organization's own price can be ended, once and never in the past; a general one is only ever superseded."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from tests.catalog.app import ADDRESS, OPERATOR, operator_client
from tests.pricing.builders import priced_endpoint

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import EndpointId, OrganizationId, typed
from tollgate.pricing import service
from tollgate.pricing.rules import prices_in_force

FAR = datetime(2100, 1, 1, tzinfo=UTC)
"""Later than the database's own clock, by which it judges what has begun."""
DAY = timedelta(days=1)
ENDPOINT = {"model": "openai/gpt-4.1-mini", "provider": "openai"}


@pytest.fixture
async def endpoint_id(database: Database, clock: FixedClock) -> EndpointId:
    return await priced_endpoint(database, clock.now())


@pytest.fixture
async def client(database: Database, clock: FixedClock, endpoint_id: EndpointId) -> AsyncIterator[AsyncClient]:
    del endpoint_id
    async with operator_client(database, clock) as opened:
        yield opened


@pytest.fixture
async def customer(database: Database, clock: FixedClock) -> OrganizationId:
    async with database.write() as session:
        return (await accounts.create_organization(session, order=NewOrganization("Acme"), now=clock.now())).id


async def publish(client: AsyncClient, owner: OrganizationId | None, at: datetime | None = None) -> Any:
    kinds = ("prompt", "completion")
    body: Mapping[str, Any] = {
        **ENDPOINT,
        "organization": owner and typed("org", owner),
        "effective_from": at and at.isoformat(),
        "items": [{"kind": kind, "price": "5", "unit": "per_million_tokens"} for kind in kinds],
    }
    return await client.post("/admin/prices", json=body)


async def published(client: AsyncClient, owner: OrganizationId | None, at: datetime | None = None) -> str:
    answer = await publish(client, owner, at)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def end(client: AsyncClient, price: str, at: datetime | None = None) -> Any:
    return await client.post(f"/admin/prices/{price}/end", json={"effective_to": at and at.isoformat()})


async def refusal(client: AsyncClient, price: str, at: datetime | None = None) -> tuple[int, str | None, str]:
    """How it is refused to end: status, field and message."""
    answer = await end(client, price, at)
    error = answer.json()["error"]
    return answer.status_code, (error["metadata"] or {}).get("field"), error["message"]


async def shown(client: AsyncClient, owner: OrganizationId) -> list[tuple[str, str | None, bool]]:
    """When each own version begins and ends, in years, and whether it was withdrawn; the latest first."""
    wanted = {**ENDPOINT, "organization": typed("org", owner)}
    return [
        (
            each["effective_from"][:4],
            each["effective_to"] and each["effective_to"][:4],
            each["withdrawn_at"] is not None,
        )
        for each in (await client.get("/admin/prices", params=wanted)).json()["data"]
    ]


async def test_it_ends_now_and_the_general_price_is_charged_again(
    client: AsyncClient, database: Database, clock: FixedClock, endpoint_id: EndpointId, customer: OrganizationId
) -> None:
    own = await published(client, customer)
    await client.post("/admin/price-adjustments", json={"percent": "-50"})

    async def prompt_price() -> Decimal:
        async with database.read() as session:
            book = await service.load_book(session, now=clock.now())
        prices = prices_in_force(book, endpoint_id=endpoint_id, organization_id=customer, at=clock.now(), **ENDPOINT)
        return prices["standard"].items[0].unit_price

    clock.at += DAY
    assert await prompt_price() == 5
    answer = await end(client, own)

    assert answer.status_code == 200, answer.text
    ended = answer.json()["data"]
    assert (ended["id"], ended["model"], ended["provider"]) == (own, *ENDPOINT.values())
    assert ended["effective_to"] == clock.at.isoformat().replace("+00:00", "Z")
    assert await prompt_price() == Decimal("0.2")


async def test_the_next_one_begins_at_its_end_or_later(client: AsyncClient, customer: OrganizationId) -> None:
    own = await published(client, customer)
    assert (await end(client, own, FAR)).status_code == 200

    early = await publish(client, customer, FAR - DAY)
    assert (early.status_code, early.json()["error"]["metadata"]) == (400, {"field": "effective_from"})
    assert "ends at 2100-01-01T00:00:00+00:00" in early.json()["error"]["message"]
    await published(client, customer, FAR.replace(year=2110))

    assert await shown(client, customer) == [("2110", None, False), ("2026", "2100", False)]


async def test_the_end_stays_if_what_begins_there_is_withdrawn(
    client: AsyncClient, customer: OrganizationId, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    own = await published(client, customer)
    await end(client, own, FAR)
    next_one = await published(client, customer, FAR)

    assert (await client.delete(f"/admin/prices/{next_one}")).status_code == 204

    assert await shown(client, customer) == [("2100", None, True), ("2026", "2100", False)]
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE price_versions SET effective_to = NULL WHERE ended_at IS NOT NULL")


async def test_one_for_later_is_withdrawn_with_the_end_that_it_was_given(
    client: AsyncClient, customer: OrganizationId
) -> None:
    await published(client, customer)
    scheduled = await published(client, customer, FAR)
    assert (await end(client, scheduled, FAR.replace(year=2105))).status_code == 200

    assert (await client.delete(f"/admin/prices/{scheduled}")).status_code == 204

    assert await shown(client, customer) == [("2100", "2105", True), ("2026", None, False)]


async def test_it_is_on_record(client: AsyncClient, clock: FixedClock, customer: OrganizationId) -> None:
    own = await published(client, customer)
    clock.at += timedelta(seconds=1)
    await end(client, own)

    wanted = {"kind": "price", "subject": own}
    changed, first = (await client.get("/admin/catalogue/changes", params=wanted)).json()["data"]

    assert (changed["action"], changed["before"]) == ("changed", first["after"])
    assert changed["after"] == first["after"] | {"effective_to": clock.at.isoformat()}
    assert (changed["by"], changed["address"]) == (typed("key", OPERATOR.key_id), ADDRESS)


async def test_ending_moves_the_revision(
    client: AsyncClient, customer: OrganizationId, clock: FixedClock, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A gateway whose snapshot is older learns of it from its next admission."""
    own = await published(client, customer)
    clock.at += DAY
    before = await pool.fetchval("SELECT revision FROM catalogue_revision")
    await end(client, own)
    assert await pool.fetchval("SELECT revision FROM catalogue_revision") > before


async def test_what_cannot_end_is_refused_with_the_reason(
    client: AsyncClient, clock: FixedClock, customer: OrganizationId
) -> None:
    own = await published(client, customer)
    for at, reason in ((clock.now() - DAY, "now or later"), (None, "after its beginning"), (clock.now(), "withdrawn")):
        status, field, message = await refusal(client, own, at)
        assert (status, field) == (400, "effective_to")
        assert reason in message

    await end(client, own, FAR)
    assert (await refusal(client, own, FAR + DAY))[:2] == (409, "effective_to")
    scheduled = await published(client, customer, FAR)
    await client.delete(f"/admin/prices/{scheduled}")
    assert (await refusal(client, scheduled, FAR + DAY))[0] == 409
    for unknown in ("price_00000000-0000-7000-8000-000000000000", "price_1", "org_1"):
        assert (await refusal(client, unknown))[0] == 404


async def test_a_general_one_is_only_superseded(
    client: AsyncClient, customer: OrganizationId, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    del customer
    status, _, message = await refusal(client, await published(client, None), FAR)

    assert status == 409
    assert "only superseded" in message
    with pytest.raises(asyncpg.CheckViolationError, match="price_versions_ended"):
        await pool.execute(
            "UPDATE price_versions SET effective_to = '2100-01-01', ended_at = now() WHERE id IN "
            "(SELECT id FROM price_versions WHERE effective_to IS NULL LIMIT 1)"
        )


async def test_the_list_shows_an_organizations_own_alone_if_asked(
    client: AsyncClient, customer: OrganizationId
) -> None:
    own = [await published(client, customer, at) for at in (None, FAR)]

    async def listed(**wanted: str | int) -> Any:
        return (await client.get("/admin/prices", params={**ENDPOINT, **wanted})).json()

    name = typed("org", customer)
    page = await listed(organization=name, limit=1)
    rest = await listed(organization=name, limit=1, cursor=page["next"])
    assert [each["id"] for each in (*page["data"], *rest["data"])] == own[::-1]
    assert rest["next"] is None
    assert [each["organization"] for each in (await listed())["data"]] == [name, name, None]
    assert (await listed(organization="key_1"))["error"]["metadata"] == {"field": "organization"}
    assert (await listed(organization="org_00000000-0000-7000-8000-000000000009"))["data"] == []
