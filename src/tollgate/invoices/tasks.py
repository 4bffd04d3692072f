"""Closing months of many organizations: each by itself, and none kept waiting by another's failure.

A schedule finds out whose months are due and asks for a job for each of them; any worker does it. What is due follows
from invoices and usage alone, so asking again, or closing by hand meanwhile, changes nothing.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.infra import jobs, telemetry
from tollgate.infra.database import Database
from tollgate.invoices.model import Closed, Month, NothingToInvoice
from tollgate.invoices.service import closings
from tollgate.invoices.service import invoices as service
from tollgate.kit import ids
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import OrganizationId

CLOSE_JOB = "close-months"
"""The job that closes what is due of one organization; its subject is the organization's id."""
_PAGE = 1000

_log = structlog.get_logger(__name__)


class ClosingBroke(Exception):
    """The database failed at a closing, which may pass by itself within seconds."""


async def ask_for_due(database: Database, clock: Clock, grace: timedelta) -> int:
    """Ask for a job for every organization with a month that is due; answers how many those are.

    Those whose last closing failed are looked at again, whether or not anything of them is due still.
    """
    asked = 0
    async for page in _pages(database):
        async with database.read() as session:
            due = await service.due_months(session, organizations=page, now=clock.now(), grace=grace)
        await _ask(database, [organization.id for organization, _ in due])
        asked += len(due)
    async with database.read() as session:
        failing = await closings.failing(session)
    await _ask(database, failing)
    return asked


async def _ask(database: Database, organizations: Sequence[OrganizationId]) -> None:
    async with database.write() as session:
        subjects = [ids.typed("org", each) for each in organizations]
        await jobs.enqueue_all(session, job=CLOSE_JOB, subjects=subjects)


async def close_due(database: Database, clock: Clock, grace: timedelta, subject: str) -> list[Closed]:
    """Issue every invoice of the organization whose month and grace are over; answers what came of each.

    Months close in order: one that fails is written down, and keeps the organization's later ones waiting.

    Raises:
        ClosingBroke: the database failed at it.
    """
    organization_id = OrganizationId(ids.parse("org", subject))
    organization, months, failing = await _due(database, clock, grace, organization_id)
    outcomes: list[Closed] = []
    for month in months:
        outcome = await close_month(database, organization, month, now=clock.now())
        outcomes.append(outcome)
        if outcome.failure and month in (await _due(database, clock, grace, organization_id))[1]:
            await _write_down(database, outcome, now=clock.now())
            return outcomes
    if failing:
        async with database.write() as session:
            await closings.succeeded(session, organization_id=organization_id)
    return outcomes


async def _due(
    database: Database, clock: Clock, grace: timedelta, organization_id: OrganizationId
) -> tuple[Organization, list[Month], bool]:
    """The organization, its months that are due, and whether the last one that was tried failed."""
    async with database.read() as session:
        organization = await accounts.get_organization(session, organization_id)
        due = await service.due_months(session, organizations=[organization], now=clock.now(), grace=grace)
        failing = await closings.is_failing(session, organization_id=organization_id)
    return organization, [month for _, months in due for month in months], failing


async def _write_down(database: Database, outcome: Closed, *, now: datetime) -> None:
    async with database.write() as session:
        await closings.failed(
            session,
            organization_id=outcome.organization.id,
            month=outcome.month,
            reason=str(outcome.failure),
            now=now,
        )
    if outcome.broken:
        raise ClosingBroke


async def organizations(database: Database) -> AsyncIterator[Organization]:
    """Every organization of the installation, newest first."""
    async for page in _pages(database):
        for organization in page:
            yield organization


async def _pages(database: Database) -> AsyncIterator[list[Organization]]:
    page: list[Organization] = []
    while True:
        async with database.read() as session:
            page = await accounts.list_organizations(session, before=page[-1].id if page else None, count=_PAGE)
        if page:
            yield page
        if len(page) < _PAGE:
            return


async def close_month(database: Database, organization: Organization, month: Month, *, now: datetime) -> Closed:
    """Close one month of one organization in a transaction of its own; what went wrong is part of the answer."""
    try:
        async with database.write() as session:
            invoice = await service.close(session, organization_id=organization.id, month=month, now=now)
    except NothingToInvoice:
        telemetry.CLOSINGS.labels("nothing").inc()
        return Closed(organization, month, invoice=None, failure=None)
    except (TollgateError, SQLAlchemyError) as error:
        telemetry.CLOSINGS.labels("failed").inc()
        reason = str(getattr(error, "orig", error))
        _log.warning("invoice.failed", organization_id=str(organization.id), month=month.name, reason=reason)
        broken = isinstance(error, SQLAlchemyError)
        return Closed(organization, month, invoice=None, failure=reason, broken=broken)
    telemetry.CLOSINGS.labels("issued").inc()
    return Closed(organization, month, invoice=invoice.heading, failure=None)
