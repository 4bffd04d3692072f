"""Use cases of closing by itself: what is due, what could not be closed, and for how long that has been so."""

from collections.abc import Sequence
from datetime import datetime

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import ClosingFailure, Month
from tollgate.invoices.store import closings as store
from tollgate.kit.ids import OrganizationId


async def failed(
    session: WriteSession, *, organization_id: OrganizationId, month: Month, reason: str, now: datetime
) -> None:
    """Closing the month failed; the organization's later months wait for it."""
    await store.add_failure(session, organization_id=organization_id, month=month, reason=reason, now=now)


async def succeeded(session: WriteSession, *, organization_id: OrganizationId) -> None:
    """Every month of the organization that was due is closed."""
    await store.forget_failure(session, organization_id=organization_id)


async def failures(session: ReadSession, *, count: int) -> tuple[int, Sequence[ClosingFailure]]:
    """How many organizations wait for a month that could not be closed, and those who have waited longest."""
    return await store.count_failures(session), await store.failures(session, count=count)


async def failing(session: ReadSession) -> Sequence[OrganizationId]:
    """The organizations to look at again whether or not anything of them is due."""
    return await store.failing(session)


async def is_failing(session: ReadSession, *, organization_id: OrganizationId) -> bool:
    """Whether a failure of the organization is written down, over or not."""
    return await store.is_failing(session, organization_id=organization_id)
