"""Money as it stands: what scopes have spent and hold, and the transfers on the customer's side of the books."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit.ids import OrganizationId
from tollgate.ledger.model import RECEIVABLE, REFUNDABLE, UNBILLED, Transfer
from tollgate.reports.model import NOTHING_SPENT, Spent
from tollgate.reports.store.usage import INSTANT

# A window that began before the one of now is over, and nothing is used of the new one yet (as in lock_counters).
_SPENT = sa.text("""
    SELECT total_used AS total, total_held,
           CASE WHEN day_start < :day THEN 0 ELSE day_used END AS daily,
           CASE WHEN day_start < :day THEN 0 ELSE day_held END AS daily_held,
           CASE WHEN week_start < :week THEN 0 ELSE week_used END AS weekly,
           CASE WHEN week_start < :week THEN 0 ELSE week_held END AS weekly_held,
           CASE WHEN month_start < :month THEN 0 ELSE month_used END AS monthly,
           CASE WHEN month_start < :month THEN 0 ELSE month_held END AS monthly_held
    FROM counters
    WHERE organization_id = :organization_id AND scope_id = :scope_id
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "scope_id")),
    *(sa.bindparam(name, type_=INSTANT) for name in ("day", "week", "month")),
)

# Ordered by when they were posted: an id may carry the time of a cause that is much older.
_TRANSFERS = f"""
    SELECT {", ".join(field.name for field in fields(Transfer))} FROM transfers
    WHERE organization_id = :organization_id
        AND (debit_account IN ('{UNBILLED}', '{RECEIVABLE}', '{REFUNDABLE}') OR debit_account LIKE 'credits:%'
             OR credit_account IN ('{UNBILLED}', '{RECEIVABLE}', '{REFUNDABLE}') OR credit_account LIKE 'credits:%')
        {{and_before}} AND (cardinality(:causes) = 0 OR cause = ANY (:causes))
    ORDER BY posted_at DESC, id DESC
    LIMIT :count
"""
_BEFORE = """
    AND (posted_at, id) < ((SELECT posted_at FROM transfers WHERE organization_id = :organization_id AND id = :before),
                           :before)
"""


async def spent(
    session: ReadSession,
    *,
    organization_id: OrganizationId,
    scope_id: UUID,
    day: datetime,
    week: datetime,
    month: datetime,
) -> Spent:
    """What the organization, project or key has spent and holds, in all and in the windows that began then."""
    parameters = {"organization_id": organization_id, "scope_id": scope_id, "day": day, "week": week, "month": month}
    row = (await session.execute(_SPENT, parameters)).mappings().one_or_none()
    return NOTHING_SPENT if row is None else Spent(**row)


async def transfers(
    session: ReadSession, *, organization_id: OrganizationId, causes: Sequence[str], before: UUID | None, count: int
) -> list[Transfer]:
    """Transfers from or to the organization's credits, and what is unbilled, receivable or refundable; latest first."""
    given = {"organization_id": organization_id} | ({} if before is None else {"before": before})
    statement = sa.text(_TRANSFERS.format(and_before="" if before is None else _BEFORE)).bindparams(
        *(sa.bindparam(name, type_=sa.Uuid) for name in given), sa.bindparam("causes", type_=sa.ARRAY(sa.Text))
    )
    result = await session.execute(statement, {**given, "causes": list(causes), "count": count})
    return [Transfer(**row) for row in result.mappings()]
