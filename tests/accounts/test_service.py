"""Accounts on a real database: what happens when two change the same thing at once."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tollgate.accounts import service, store
from tollgate.accounts.model import NO_LIMITS, Limits, NewOrganization, Organization
from tollgate.infra.database import Database, WriteSession
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import Conflict


@pytest.fixture
async def acme(database: Database, clock: FixedClock) -> Organization:
    async with database.write() as session:
        return await service.create_organization(session, order=NewOrganization("Acme"), now=clock.now())


async def test_changes_of_different_limits_at_once_both_last(database: Database, acme: Organization) -> None:
    async def change(name: str, value: object) -> None:
        async with database.write() as session:
            await service.change_limits(
                session,
                organization_id=acme.id,
                scope_id=acme.id,
                edit=lambda limits: replace(limits, **{name: value}),  # type: ignore[arg-type]  # each value is of its field's type
            )

    await asyncio.gather(change("monthly", Decimal(20)), change("rpm", 60), change("concurrency", 4))

    async with database.read() as session:
        limits = await service.get_limits(session, organization_id=acme.id, scope_id=acme.id)
    assert limits == Limits(monthly=Decimal(20), rpm=60, concurrency=4)


async def test_a_zone_is_known_if_postgresql_can_reckon_in_it(database: Database) -> None:
    odd = ("UTC", "GMT0", "EST5EDT", "Etc/GMT+5", "GB-Eire", "America/Port-au-Prince", "localtime", "Mars/Olympus")
    async with database.read() as session:
        listed = {row.name for row in await session.execute(text("SELECT name FROM pg_timezone_names"))}
        assert {name for name in odd if await store.knows_timezone(session, name)} == listed & {*odd}
        assert "localtime" not in listed


async def test_a_scope_nobody_limited_has_no_limits(database: Database, acme: Organization) -> None:
    async with database.read() as session:
        assert await service.get_limits(session, organization_id=acme.id, scope_id=acme.id) == NO_LIMITS


async def test_a_project_is_not_archived_while_something_is_being_filed_under_it(
    database: Database, clock: FixedClock, acme: Organization
) -> None:
    async with database.write() as session:
        project = await service.create_project(session, organization_id=acme.id, name="p", now=clock.now())

    async def archive() -> None:
        async with database.write() as session:
            await service.archive_project(session, organization_id=acme.id, project_id=project.id, now=clock.now())

    async with database.write() as session:
        await service.usable_project(session, organization_id=acme.id, project_id=project.id)
        archiving = asyncio.create_task(archive())
        done, _ = await asyncio.wait([archiving], timeout=0.2)
        assert not done
    await archiving

    with pytest.raises(Conflict):
        async with database.write() as session:
            await service.usable_project(session, organization_id=acme.id, project_id=project.id)


@pytest.mark.parametrize(
    "limits", [Limits(total=Decimal(-1)), Limits(weekly=Decimal("-0.1")), Limits(rpm=-1), Limits(alert_percent=101)]
)
async def test_the_database_itself_refuses_impossible_limits(
    database: Database, acme: Organization, limits: Limits
) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            await service.change_limits(session, organization_id=acme.id, scope_id=acme.id, edit=lambda _: limits)


async def test_reading_cannot_write(database: Database, clock: FixedClock) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        async with database.read() as session:
            await service.create_organization(WriteSession(session), order=NewOrganization("Acme"), now=clock.now())
