"""Closing months of many organizations: each in a transaction of its own, and none stopped by another's failure."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.infra.database import Database
from tollgate.invoices import service
from tollgate.invoices.model import Closed, Month, NothingToInvoice
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError

_PAGE = 1000

_log = structlog.get_logger(__name__)


async def close_due_months(database: Database, clock: Clock, grace: timedelta) -> list[Closed]:
    """Issue every invoice whose month and grace are over; answers what came of each month that was due.

    Months of an organization close in order: one that fails keeps the organization's later ones waiting.
    """
    outcomes: list[Closed] = []
    async for organization in organizations(database):
        async with database.read() as session:
            months = await service.due_months(session, organization=organization, now=clock.now(), grace=grace)
        for month in months:
            outcome = await close_month(database, organization, month, now=clock.now())
            outcomes.append(outcome)
            if outcome.failure:
                break
    return outcomes


async def organizations(database: Database) -> AsyncIterator[Organization]:
    """Every organization of the installation, newest first."""
    last: Organization | None = None
    while True:
        async with database.read() as session:
            page = await accounts.list_organizations(session, before=last.id if last else None, count=_PAGE)
        for organization in page:
            yield organization
        if len(page) < _PAGE:
            return
        last = page[-1]


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
