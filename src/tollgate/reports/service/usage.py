"""Usage reports: from a question in a request's words to rows and their total."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tollgate.accounts import service as accounts
from tollgate.infra.database import ReadSession
from tollgate.kit import money, period
from tollgate.kit.ids import OrganizationId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.reports import rules
from tollgate.reports.model import Dimension, Granularity, Usage, UsageQuery, UsageQuestion, UsageReport
from tollgate.reports.service import scope
from tollgate.reports.store import usage as store

_BY_PARTS = {Dimension.TAG, Dimension.KIND}
"""What makes a call stand in several rows."""


async def report(
    session: ReadSession, *, organization_id: OrganizationId, question: UsageQuestion, now: datetime
) -> UsageReport:
    """What the organization used; of the current month if the question names no time.

    Raises:
        InvalidRequest: the window, the zone or the size of the report cannot be; `field` names the part.
        NotFound: it filters by a project or key that the organization does not have.
    """
    organization = await accounts.get_organization(session, organization_id)
    zone = scope.zone_of(question.asked, organization)
    query = UsageQuery(
        organization_id=organization_id,
        window=rules.window(question.asked, zone=zone) or period.month_of(now, zone),
        zone=zone,
        granularity=question.granularity,
        group_by=question.group_by,
        filters=question.filters,
    )
    rules.check_quarter_hours(query.window)
    await scope.require_own(session, organization_id=organization_id, filters=query.filters)
    rows = await _rows(session, query)
    total = await _total(session, query) if _BY_PARTS & set(query.group_by) else _sum(query, rows)
    return UsageReport(query=query, currency=organization.currency, rows=rows, total=total)


async def _rows(session: ReadSession, query: UsageQuery) -> tuple[Usage, ...]:
    pieces = rules.pieces(query.window, query.granularity, query.zone)
    rows = await store.usage(session, query, pieces=pieces, rows_max=rules.ROWS_MAX + 1)
    if len(rows) > rules.ROWS_MAX:
        raise rules.too_many_rows()
    return tuple(rows)


async def _total(session: ReadSession, query: UsageQuery) -> Usage:
    """Summed without groups."""
    whole = replace(query, granularity=Granularity.TOTAL, group_by=())
    return _sum(query, await store.usage(session, whole, pieces=[query.window], rows_max=1))


def _sum(query: UsageQuery, rows: Sequence[Usage]) -> Usage:
    """What rows come to of which each tells of calls of its own."""
    counted = [row.calls for row in rows if row.calls is not None]
    countable = not query.filters.kind or Kind.REQUEST in query.filters.kind
    quantities: dict[Kind, int] = {}
    for row in rows:
        for kind, count in row.quantities:
            quantities[kind] = quantities.get(kind, 0) + count
    return Usage(
        query.window,
        {},
        calls=sum(counted) if counted or (countable and not rows) else None,
        quantities=UsageQuantities(quantities),
        amount=money.total(row.amount for row in rows),
    )
