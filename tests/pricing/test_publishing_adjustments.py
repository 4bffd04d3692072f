"""Adjustments in a real database: superseded, never edited, never overlapping, and never of the past."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests.pricing.builders import priced_endpoint

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import Conflict, InvalidRequest, NotFound
from tollgate.kit.ids import EndpointId, OrganizationId, PriceAdjustmentId
from tollgate.pricing import service
from tollgate.pricing.model import AdjustmentDraft, PriceAdjustment, PriceBook
from tollgate.pricing.rules import adjusted

EVERYBODY: dict[str, Any] = {"organization_id": None, "model": None, "provider": None}
MODEL, PROVIDER = "openai/gpt-4.1-mini", "openai"
DAY = timedelta(days=1)


@pytest.fixture
async def endpoint_id(database: Database, clock: FixedClock) -> EndpointId:
    return await priced_endpoint(database, clock.now())


@pytest.fixture
async def customer(database: Database, clock: FixedClock) -> OrganizationId:
    async with database.write() as session:
        return (await accounts.create_organization(session, order=NewOrganization("Acme"), now=clock.now())).id


async def publish(
    database: Database, clock: FixedClock, percent: str, *, after: timedelta = timedelta(0), **scope: Any
) -> PriceAdjustment:
    draft = AdjustmentDraft(**{**EVERYBODY, **scope}, percent=Decimal(percent), effective_from=clock.now() + after)
    async with database.write() as session:
        return (await service.publish_adjustment(session, draft, act=Act(clock.now()))).adjustment


async def end(database: Database, clock: FixedClock, one: PriceAdjustment, *, after: timedelta) -> PriceAdjustment:
    async with database.write() as session:
        ended = await service.end_adjustment(session, one.id, at=clock.now() + after, act=Act(clock.now()))
        return ended.adjustment


async def book_of(database: Database, clock: FixedClock) -> PriceBook:
    async with database.read() as session:
        return await service.load_book(session, now=clock.now())


async def kept(database: Database, clock: FixedClock) -> list[tuple[Any, ...]]:
    """What the book has for everybody on everything, oldest first: percent, beginning and end in days from now."""
    found = (await book_of(database, clock)).by_owner.get(None, {}).get((None, None), ())
    return [
        (
            each.percent,
            (each.effective_from - clock.now()).days,
            each.effective_to and (each.effective_to - clock.now()).days,
        )
        for each in reversed(found)
    ]


async def test_the_next_one_of_a_scope_supersedes_the_one_before(database: Database, clock: FixedClock) -> None:
    await publish(database, clock, "-10")
    await publish(database, clock, "-20.5", after=DAY)
    await publish(database, clock, "0", after=2 * DAY)

    assert await kept(database, clock) == [(-10, 0, 1), (Decimal("-20.5"), 1, 2), (0, 2, None)]


async def test_scopes_do_not_supersede_each_other(
    database: Database, clock: FixedClock, endpoint_id: EndpointId, customer: OrganizationId
) -> None:
    del endpoint_id
    for owner in (None, customer):
        for model, provider in ((None, None), (MODEL, None), (None, PROVIDER), (MODEL, PROVIDER)):
            await publish(database, clock, "5", organization_id=owner, model=model, provider=provider)

    book = await book_of(database, clock)
    assert {owner: len(scopes) for owner, scopes in book.by_owner.items()} == {None: 4, customer: 4}


async def test_one_ends_once_and_after_its_beginning(database: Database, clock: FixedClock) -> None:
    one = await publish(database, clock, "-10", after=DAY)

    for after in (timedelta(seconds=-1), DAY):
        with pytest.raises(InvalidRequest) as refusal:
            await end(database, clock, one, after=after)
        assert refusal.value.field == "effective_to"
    assert (await end(database, clock, one, after=2 * DAY)).effective_to == clock.now() + 2 * DAY
    with pytest.raises(Conflict, match="already"):
        await end(database, clock, one, after=3 * DAY)
    with pytest.raises(InvalidRequest, match="published already"):
        await publish(database, clock, "-20", after=DAY + timedelta(hours=1))
    await publish(database, clock, "-20", after=4 * DAY)
    assert await kept(database, clock) == [(-10, 1, 2), (-20, 4, None)]


async def test_nobody_ends_what_is_not_there(database: Database, clock: FixedClock) -> None:
    async with database.write() as session:
        with pytest.raises(NotFound):
            await service.end_adjustment(session, PriceAdjustmentId(UUID(int=7)), at=clock.now(), act=Act(clock.now()))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"percent": "-100.5"}, "percent"),
        ({"percent": "0.00001"}, "percent"),
        ({"after": timedelta(seconds=-1)}, "effective_from"),
        ({"model": "acme/nothing"}, "model"),
        ({"provider": "nobody"}, "provider"),
        ({"organization_id": OrganizationId(UUID(int=9))}, "organization"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(
    database: Database, clock: FixedClock, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await publish(database, clock, **{"percent": "1", **change})
    assert refusal.value.field == field


async def test_the_database_refuses_overlap_and_every_change(
    database: Database, clock: FixedClock, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    one = await publish(database, clock, "-10")
    copy = """
        INSERT INTO price_adjustments (id, percent, effective_from, published_at)
        SELECT gen_random_uuid(), percent, effective_from + interval '1 day', published_at FROM price_adjustments
    """

    with pytest.raises(asyncpg.ExclusionViolationError):
        await pool.execute(copy)
    for change in ("percent = 5", "model = 'a/b'", "effective_from = now()", "effective_to = now(), percent = 1"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await pool.execute(f"UPDATE price_adjustments SET {change}")
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("DELETE FROM price_adjustments")
    await end(database, clock, one, after=DAY)
    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute("UPDATE price_adjustments SET effective_to = NULL")
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(copy.replace("percent, effective_from + interval '1 day'", "1001, effective_to"))


async def test_publishing_and_ending_move_the_revision(
    database: Database, clock: FixedClock, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A gateway whose snapshot is older learns of it from its next admission."""
    revision = "SELECT revision FROM catalogue_revision"
    seen = [await pool.fetchval(revision)]
    one = await publish(database, clock, "-10")
    seen.append(await pool.fetchval(revision))
    await end(database, clock, one, after=DAY)
    seen.append(await pool.fetchval(revision))

    assert seen == sorted(set(seen))


async def test_the_book_keeps_what_ended_lately_and_what_is_to_come(database: Database, clock: FixedClock) -> None:
    """Calls that were accepted under it may still be under way."""
    await publish(database, clock, "-10")
    await publish(database, clock, "-20", after=DAY)
    clock.at += DAY + service.BOOK_KEEPS - timedelta(seconds=1)
    assert len(await kept(database, clock)) == 2

    clock.at += timedelta(seconds=1)
    assert len(await kept(database, clock)) == 1


async def test_a_version_without_a_row_is_found_again_by_whom_it_may_concern(
    database: Database, clock: FixedClock, endpoint_id: EndpointId, customer: OrganizationId
) -> None:
    (general,) = (await book_of(database, clock)).versions(endpoint_id)
    own = adjusted(general, await publish(database, clock, "-10", organization_id=customer))
    everybodys = adjusted(general, await publish(database, clock, "20", model=MODEL))
    charged = {version.id: endpoint_id for version in (general, own, everybodys)}

    async with database.read() as session:
        mine = await service.versions(session, charged, organization_id=customer)
        strangers = await service.versions(session, charged, organization_id=OrganizationId(UUID(int=7)))

    assert mine == {general.id: general, own.id: own, everybodys.id: everybodys}
    assert strangers == {general.id: general, everybodys.id: everybodys}
