"""The worker's monthly close: what is due, in order, and no organization in the way of another."""

from dataclasses import replace
from datetime import datetime

import pytest
from tests.invoices.builders import NOVEMBER, OCTOBER, PLAIN, SEPTEMBER, Books, Used, at

from tollgate.accounts.model import Organization
from tollgate.infra.database import Database
from tollgate.invoices import tasks
from tollgate.invoices.model import Closed, ClosingFailure, Month
from tollgate.invoices.service import closings
from tollgate.kit.tokens import Kind


async def failures(books: Books) -> list[ClosingFailure]:
    async with books.database.read() as session:
        count, found = await closings.failures(session, count=100)
    assert count == len(found)
    return list(found)


async def test_closes_every_month_that_is_over_in_order(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(9, 5)), Used(at(11, 5)), Used(at(12, 1, 0, 30)))

    outcomes = await books.close_due(at(12, 1, 1))

    assert [(each.month, each.invoice.number if each.invoice else None) for each in outcomes] == [
        (SEPTEMBER, "TG-2026-000001"),
        (OCTOBER, None),
        (NOVEMBER, "TG-2026-000002"),
    ]


async def test_waits_for_the_grace_and_then_has_nothing_left_to_do(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5)))

    assert await books.close_due(at(12, 1, 0, 59)) == []
    assert len(await books.close_due(at(12, 1, 1))) == 3
    assert await books.close_due(at(12, 1, 2)) == []


async def test_closes_each_organization_by_its_own_calendar(books: Books) -> None:
    tokyo = await books.an_organization(name="Tokyo", timezone="Asia/Tokyo")
    denver = await books.an_organization(name="Denver", timezone="America/Denver")
    for organization in (tokyo, denver):
        await books.record(organization, Used(at(11, 5)))

    outcomes = await books.close_due(at(11, 30, 16))

    assert {each.organization.name for each in outcomes if each.invoice} == {"Tokyo"}


async def test_one_that_fails_keeps_only_its_own_later_months_waiting(books: Books) -> None:
    unpriced, fine = await books.an_organization(name="Unpriced"), await books.an_organization(name="Fine")
    await books.record(unpriced, Used(at(10, 5), {**PLAIN, Kind.WEB_SEARCH: 1}), Used(at(11, 5)))
    await books.record(fine, Used(at(11, 5)))

    outcomes = await books.close_due(at(12, 1, 2))

    failed = [each for each in outcomes if each.failure]
    assert [(each.organization.name, each.month) for each in failed] == [("Unpriced", OCTOBER)]
    assert "web_search" in str(failed[0].failure)
    assert [each.organization.name for each in outcomes if each.invoice] == ["Fine"]


async def test_does_not_trouble_organizations_that_use_nothing(books: Books) -> None:
    await books.an_organization()
    insured = await books.an_organization()
    await books.record(insured, Used(at(10, 5), insured=True))

    assert await books.close_due(at(12, 1, 2)) == []


async def test_a_failure_is_told_until_it_is_over(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5), {**PLAIN, Kind.WEB_SEARCH: 1}))

    await books.close_due(at(11, 1, 2))
    await books.close_due(at(11, 1, 3))
    [failure] = await failures(books)
    assert (failure.month, failure.since, failure.last_at, failure.attempts) == (OCTOBER, at(11, 1, 2), at(11, 1, 3), 2)
    assert "web_search" in failure.reason

    await books.pool.execute("DELETE FROM rollups WHERE kind = 'web_search'")
    assert [each.month for each in await books.close_due(at(11, 1, 4))] == [SEPTEMBER, OCTOBER]
    assert await failures(books) == []


async def test_a_failure_is_over_once_the_month_was_closed_by_hand(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5), {**PLAIN, Kind.WEB_SEARCH: 1}))
    await books.close_due(at(11, 1, 2))
    await books.pool.execute("DELETE FROM rollups WHERE kind = 'web_search'")
    await books.close(organization, OCTOBER, now=at(11, 1, 3))

    assert await failures(books) == []
    assert await books.close_due(at(11, 1, 4)) == []
    assert await books.pool.fetchval("SELECT count(*) FROM closing_failures") == 0


async def test_what_somebody_closes_meanwhile_is_no_failure(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5)))
    close_month = tasks.close_month

    async def overtaken(database: Database, organization: Organization, month: Month, *, now: datetime) -> Closed:
        await books.close(organization, NOVEMBER, now=now)
        return await close_month(database, organization, month, now=now)

    monkeypatch.setattr(tasks, "close_month", overtaken)
    await books.close_due(at(12, 1, 2))

    assert await books.pool.fetchval("SELECT count(*) FROM closing_failures") == 0
    assert await books.pool.fetchval("SELECT count(*) FROM invoices") == 1


async def test_a_database_that_failed_is_tried_again_soon(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5)))
    await books.pool.execute("ALTER TABLE invoice_series ADD CONSTRAINT none CHECK (false)")

    with pytest.raises(tasks.ClosingBroke):
        await books.close_due(at(12, 1, 2))

    assert [failure.month for failure in await failures(books)] == [NOVEMBER]


async def test_reaches_every_page_of_organizations(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_PAGE", 2)
    organizations = [await books.an_organization(now=at(9, day)) for day in range(1, 6)]

    found = [each.id async for each in tasks.organizations(books.database)]

    assert found == [each.id for each in reversed(organizations)]


async def test_a_broken_database_is_a_reason_not_an_end(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5)))
    nobody = replace(organization, timezone="Europe/Berlin")
    await books.pool.execute("ALTER TABLE invoice_series ADD CONSTRAINT none CHECK (false)")

    outcome = await tasks.close_month(books.database, nobody, NOVEMBER, now=at(12, 1, 2))

    assert outcome.invoice is None
    assert "violates check constraint" in str(outcome.failure)
    assert await books.pool.fetchval("SELECT count(*) FROM transfers WHERE cause = 'invoice'") == 0
