"""All SQL of closings that failed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import ClosingFailure, Month
from tollgate.invoices.tables import ClosingFailureRow, InvoiceRow
from tollgate.kit.ids import OrganizationId

# An invoice that was issued since, by hand, says that the failure is over before a worker has found out.
_STANDING = sa.select(ClosingFailureRow).where(
    ~sa.exists().where(
        col(InvoiceRow.organization_id) == col(ClosingFailureRow.organization_id),
        col(InvoiceRow.month) == col(ClosingFailureRow.month),
        col(InvoiceRow.status) != "void",
    )
)


async def add_failure(
    session: WriteSession, *, organization_id: OrganizationId, month: Month, reason: str, now: datetime
) -> None:
    """Write down that closing the month failed, now as before or for the first time."""
    new = postgresql.insert(ClosingFailureRow).values(
        organization_id=organization_id, month=month.name, reason=reason, since=now, last_at=now, attempts=1
    )
    same = col(ClosingFailureRow.month) == new.excluded.month
    await session.execute(
        new.on_conflict_do_update(
            index_elements=[col(ClosingFailureRow.organization_id)],
            set_={
                "month": new.excluded.month,
                "reason": new.excluded.reason,
                "since": sa.case((same, col(ClosingFailureRow.since)), else_=new.excluded.since),
                "last_at": new.excluded.last_at,
                "attempts": sa.case((same, col(ClosingFailureRow.attempts) + 1), else_=1),
            },
        )
    )


async def forget_failure(session: WriteSession, *, organization_id: OrganizationId) -> None:
    """Nothing of the organization is failing any more."""
    await session.execute(sa.delete(ClosingFailureRow).where(col(ClosingFailureRow.organization_id) == organization_id))


async def failures(session: ReadSession, *, count: int) -> list[ClosingFailure]:
    """The months of whomever could not be closed, the longest first, as many as are asked for."""
    found = _STANDING.order_by(col(ClosingFailureRow.since), col(ClosingFailureRow.organization_id)).limit(count)
    return [
        ClosingFailure(row.organization_id, Month.named(row.month), row.reason, row.since, row.last_at, row.attempts)
        for row in (await session.execute(found)).scalars()
    ]


async def count_failures(session: ReadSession) -> int:
    """How many organizations wait for a month that could not be closed."""
    found = await session.execute(sa.select(sa.func.count()).select_from(_STANDING.subquery()))
    return int(found.scalar_one())


async def failing(session: ReadSession) -> list[OrganizationId]:
    """Every organization of which a failure is written down, over or not."""
    return list((await session.execute(sa.select(col(ClosingFailureRow.organization_id)))).scalars())


async def is_failing(session: ReadSession, *, organization_id: OrganizationId) -> bool:
    """Whether a failure of the organization is written down."""
    return await session.get(ClosingFailureRow, organization_id) is not None
