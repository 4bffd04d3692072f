"""Closing months of many organizations: each in a transaction of its own, and none stopped by another's failure."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.infra.database import Database
from tollgate.invoices.model import Closed, Month, NothingToInvoice
from tollgate.invoices.service import invoices as service
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError

_PAGE = 1000

_log = structlog.get_logger(__name__)


async def close_due_months(database: Database, clock: Clock, grace: timedelta) -> list[Closed]:
    """Issue every invoice whose month and grace are over; answers what came of each month that was due.

    Months of an organization close in order: one that fails keeps the organization's later ones waiting.
    """
    outcomes: list[Closed] = []
    async for page in _pages(database):
        async with database.read() as session:
            due = await service.due_months(session, organizations=page, now=clock.now(), grace=grace)
        for organization, months in due:
            for month in months:
                outcomes.append(await close_month(database, organization, month, now=clock.now()))
                if outcomes[-1].failure:
                    break
    return outcomes


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
        return Closed(organization, month, invoice=None, failure=None)
    except (TollgateError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", error))
        _log.warning("invoice.failed", organization_id=str(organization.id), month=month.name, reason=reason)
        return Closed(organization, month, invoice=None, failure=reason)
    return Closed(organization, month, invoice=invoice.heading, failure=None)
