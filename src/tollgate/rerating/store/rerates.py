"""Re-rates themselves: their terms and prices, what was measured, and how far each has come."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col

from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import Month
from tollgate.kit import money
from tollgate.kit.ids import AdjustmentId, EndpointId, OrganizationId, PriceVersionId, RerateId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, Unit
from tollgate.rerating.model import Layer, MonthResult, Rerate, RerateState, Result, Tally, Terms
from tollgate.rerating.tables import RerateItemRow, RerateMonthRow, RerateResultRow, RerateRow

_UNDER_WAY = (RerateState.MEASURING, RerateState.APPLYING)
_IN_FORCE = (RerateState.APPLYING, RerateState.APPLIED)
"""Once it is begun, applying comes to its end: what is measured meanwhile takes it as done."""
_STATES = ("state", "measured_at", "applied_number", "applied_at", "applied_by", "finished_at")


async def lock_endpoint(session: WriteSession, endpoint_id: EndpointId) -> None:
    """Wait for whoever begins or applies another re-rate of the endpoint, until the transaction ends."""
    name = f"rerate:{endpoint_id}"
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


async def next_number(session: ReadSession, endpoint_id: EndpointId) -> int:
    """The next place among what happened to re-rates of the endpoint, whose lock the caller holds."""
    latest = sa.func.max(sa.func.greatest(col(RerateRow.number), col(RerateRow.applied_number)))
    found = await session.execute(sa.select(latest).where(col(RerateRow.endpoint_id) == endpoint_id))
    return int(found.scalar_one() or 0) + 1


async def add(session: WriteSession, rerate: Rerate) -> None:
    """Insert a re-rate with its prices."""
    terms = rerate.terms
    session.add(
        RerateRow(
            **{name: getattr(terms, name) for name in _TERMS},
            **{name: getattr(rerate, name) for name in ("id", "number", "created_at", "created_by", *_STATES)},
            since=terms.window.start,
            until=terms.window.end,
        )
    )
    await session.flush()
    rows = [{"rerate_id": rerate.id, "position": place, **asdict(item)} for place, item in enumerate(terms.items)]
    await session.execute(sa.insert(RerateItemRow), rows)


_TERMS = ("endpoint_id", "model", "provider", "service_tier", "organization_id", "reason")


async def add_results(
    session: WriteSession, rerate_id: RerateId, organization_ids: Sequence[OrganizationId], *, now: datetime
) -> None:
    """Write down whose records are to be measured."""
    rows = [
        {"organization_id": organization_id, "rerate_id": rerate_id, "next_at": now, **_NOT_MEASURED}
        for organization_id in organization_ids
    ]
    for chunk in chunks(rows):
        await session.execute(sa.insert(RerateResultRow), chunk)


_NOT_MEASURED: dict[str, Any] = {
    "attempts": 0,
    "calls": 0,
    "calls_spared": 0,
    "amount": money.ZERO,
    "new_amount": money.ZERO,
    "percents": [],
    "unpriced": [],
    "lacking": [],
}


async def rerate(session: ReadSession, rerate_id: RerateId) -> Rerate | None:
    """The re-rate with this id, as the database has it now."""
    row = await session.get(RerateRow, rerate_id, populate_existing=True)
    return None if row is None else (await _whole(session, [row]))[0]


async def rerates(session: ReadSession, *, before: UUID | None, count: int) -> list[Rerate]:
    """Re-rates made before that one, newest first."""
    found = sa.select(RerateRow).order_by(col(RerateRow.id).desc()).limit(count)
    if before is not None:
        found = found.where(col(RerateRow.id) < before)
    return await _whole(session, (await session.execute(found)).scalars())


async def _whole(session: ReadSession, rows: Iterable[RerateRow]) -> list[Rerate]:
    found = list(rows)
    items = await _items(session, [row.id for row in found])
    return [
        Rerate(
            id=row.id,
            number=row.number,
            terms=Terms(
                **{name: getattr(row, name) for name in _TERMS},
                window=Period(row.since, row.until),
                items=items[row.id],
            ),
            created_at=row.created_at,
            created_by=row.created_by,
            **{**{name: getattr(row, name) for name in _STATES}, "state": RerateState(row.state)},
        )
        for row in found
    ]


async def _items(session: ReadSession, rerate_ids: Sequence[RerateId]) -> dict[RerateId, tuple[PriceItem, ...]]:
    rows = await session.execute(
        sa.select(RerateItemRow)
        .where(col(RerateItemRow.rerate_id).in_(rerate_ids))
        .order_by(col(RerateItemRow.rerate_id), col(RerateItemRow.position))
    )
    found: dict[RerateId, list[PriceItem]] = {rerate_id: [] for rerate_id in rerate_ids}
    for row in rows.scalars():
        price, tier = money.EXACT.normalize(row.unit_price), (row.prompt_tokens_from, row.prompt_tokens_below)
        found[row.rerate_id].append(PriceItem(Kind(row.kind), price, Unit(row.unit), *tier))
    return {rerate_id: tuple(items) for rerate_id, items in found.items()}


async def under_way(session: ReadSession) -> list[RerateId]:
    """The re-rates that are being measured or applied, oldest first."""
    rows = await session.execute(
        sa.select(col(RerateRow.id)).where(col(RerateRow.state).in_(_UNDER_WAY)).order_by(col(RerateRow.id))
    )
    return list(rows.scalars())


async def save_state(session: WriteSession, rerate: Rerate, *, was: RerateState) -> None:
    """Write down how far the re-rate has come, unless it has come further meanwhile."""
    await session.execute(
        sa.update(RerateRow)
        .where(col(RerateRow.id) == rerate.id, col(RerateRow.state) == was)
        .values({name: getattr(rerate, name) for name in _STATES})
        .execution_options(synchronize_session=False)
    )


async def applied_since(session: ReadSession, rerate: Rerate) -> Rerate | None:
    """A re-rate of some of the same calls that was applied after this one was begun."""
    terms = rerate.terms
    owner = col(RerateRow.organization_id)
    conditions = [
        col(RerateRow.endpoint_id) == terms.endpoint_id,
        col(RerateRow.service_tier) == terms.service_tier,
        col(RerateRow.id) != rerate.id,
        col(RerateRow.applied_number) > rerate.number,
        col(RerateRow.since) < terms.window.end,
        col(RerateRow.until) > terms.window.start,
    ]
    if terms.organization_id is not None:
        conditions.append(sa.or_(owner.is_(None), owner == terms.organization_id))
    newest = sa.select(RerateRow).where(*conditions).order_by(col(RerateRow.applied_number).desc()).limit(1)
    return next(iter(await _whole(session, (await session.execute(newest)).scalars())), None)


async def layers(session: ReadSession, organization_id: OrganizationId, terms: Terms) -> tuple[Layer, ...]:
    """What was applied, or is being applied, to the organization's calls of these terms; the first measured first."""
    rows = (
        await session.execute(
            sa.select(RerateRow, col(RerateResultRow.cut))
            .join(RerateResultRow, col(RerateResultRow.rerate_id) == col(RerateRow.id))
            .where(
                col(RerateResultRow.organization_id) == organization_id,
                col(RerateRow.endpoint_id) == terms.endpoint_id,
                col(RerateRow.service_tier) == terms.service_tier,
                col(RerateRow.state).in_(_IN_FORCE),
                col(RerateRow.since) < terms.window.end,
                col(RerateRow.until) > terms.window.start,
            )
            .order_by(col(RerateResultRow.cut))
        )
    ).all()
    items = await _items(session, [row.id for row, _ in rows])
    return tuple(
        Layer(row.id, Period(row.since, row.until), cut, row.organization_id is not None, items[row.id])
        for row, cut in rows
        if cut is not None
    )


async def take(session: WriteSession, rerate: Rerate, *, now: datetime, lease: timedelta) -> tuple[Result, int] | None:
    """Take up a result that is next to be measured, or to be posted; nobody else does until the lease is over.

    Answers it with how often it was taken up before; `None` if there is nothing to take up now.
    """
    undone = RerateResultRow.measured_at if rerate.state is RerateState.MEASURING else RerateResultRow.posted_at
    found = await session.execute(
        sa.select(RerateResultRow)
        .where(col(RerateResultRow.rerate_id) == rerate.id, col(undone).is_(None), col(RerateResultRow.next_at) <= now)
        .order_by(col(RerateResultRow.organization_id))
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    row = found.scalar_one_or_none()
    if row is None:
        return None
    attempts = row.attempts
    await session.execute(_one(row.organization_id, rerate.id).values(attempts=attempts + 1, next_at=now + lease))
    return _result(row), attempts


async def renew(session: WriteSession, result: Result, *, until: datetime) -> bool:
    """Keep a measurement that is under way; false if somebody else has taken it up."""
    kept = await session.execute(
        _one(result.organization_id, result.rerate_id)
        .where(col(RerateResultRow.measured_at).is_(None), col(RerateResultRow.cut) == result.cut)
        .values(next_at=until)
        .returning(col(RerateResultRow.organization_id))
    )
    return kept.scalar_one_or_none() is not None


async def is_unposted(session: WriteSession, result: Result) -> bool:
    """Whether nobody has posted the result; nobody else does until the transaction ends."""
    row = await session.execute(
        sa.select(col(RerateResultRow.posted_at))
        .where(
            col(RerateResultRow.organization_id) == result.organization_id,
            col(RerateResultRow.rerate_id) == result.rerate_id,
        )
        .with_for_update()
    )
    return row.scalar_one() is None


def _one(organization_id: OrganizationId, rerate_id: RerateId) -> sa.Update:
    return (
        sa.update(RerateResultRow)
        .where(col(RerateResultRow.organization_id) == organization_id, col(RerateResultRow.rerate_id) == rerate_id)
        .execution_options(synchronize_session=False)
    )


async def save_cut(session: WriteSession, result: Result, cut: int) -> None:
    """Write down where the measurement ends. Measuring anew, because the lease was over, moves it on."""
    await session.execute(_one(result.organization_id, result.rerate_id).values(cut=cut))


async def save_measured(session: WriteSession, result: Result, months: Sequence[MonthResult], *, now: datetime) -> bool:
    """Write down a measurement; false if somebody else took it up meanwhile."""
    measured = await session.execute(
        _one(result.organization_id, result.rerate_id)
        .where(col(RerateResultRow.measured_at).is_(None), col(RerateResultRow.cut) == result.cut)
        .values(
            **{name: getattr(result, name) for name in _MEASURED},
            percents=list(result.percents),
            unpriced=sorted(result.unpriced),
            lacking=list(result.lacking),
            attempts=0,
            next_at=now,
        )
        .returning(col(RerateResultRow.organization_id))
    )
    if measured.scalar_one_or_none() is None:
        return False
    rows = [
        {
            "organization_id": result.organization_id,
            "rerate_id": result.rerate_id,
            "month": each.month.name,
            **{name: getattr(each, name) for name in _OF_MONTHS},
        }
        for each in months
    ]
    if rows:
        await session.execute(sa.insert(RerateMonthRow), rows)
    return True


_MEASURED = ("calls", "calls_spared", "amount", "new_amount", "measured_at")
_OF_MONTHS = ("calls", "amount", "new_amount", "invoice_number")


async def save_posted(
    session: WriteSession, result: Result, adjustment_id: AdjustmentId | None, *, now: datetime
) -> None:
    """Write down that the result's adjustment is made, or that none was needed."""
    await session.execute(
        _one(result.organization_id, result.rerate_id).values(posted_at=now, adjustment_id=adjustment_id)
    )


async def tally(session: ReadSession, rerate_id: RerateId) -> Tally:
    """What the re-rate comes to, and how far it has come."""
    row = (await session.execute(_TALLY, {"rerate_id": rerate_id})).one()
    return Tally(
        organizations=row.organizations,
        measured=row.measured,
        posted=row.posted,
        calls=int(row.calls),
        calls_spared=int(row.calls_spared),
        amount=row.amount,
        new_amount=row.new_amount,
        unpriced=frozenset(Kind(kind) for kind in row.unpriced),
    )


_TALLY = sa.text("""
    SELECT count(*) AS organizations, count(measured_at) AS measured, count(posted_at) AS posted,
           coalesce(sum(calls), 0) AS calls, coalesce(sum(calls_spared), 0) AS calls_spared,
           coalesce(sum(amount), 0) AS amount, coalesce(sum(new_amount), 0) AS new_amount,
           ARRAY (SELECT DISTINCT kind FROM rerate_results AS of_it CROSS JOIN unnest(of_it.unpriced) AS kind
                  WHERE of_it.rerate_id = :rerate_id) AS unpriced
    FROM rerate_results WHERE rerate_id = :rerate_id
""").bindparams(sa.bindparam("rerate_id", type_=sa.Uuid()))


async def results(session: ReadSession, rerate_id: RerateId, *, after: UUID | None, count: int) -> list[Result]:
    """What was measured, by organization; those with the ids after that one."""
    found = sa.select(RerateResultRow).where(
        col(RerateResultRow.rerate_id) == rerate_id, col(RerateResultRow.measured_at).is_not(None)
    )
    if after is not None:
        found = found.where(col(RerateResultRow.organization_id) > after)
    rows = await session.execute(found.order_by(col(RerateResultRow.organization_id)).limit(count))
    return [_result(row) for row in rows.scalars()]


async def months(
    session: ReadSession, rerate_id: RerateId, organization_ids: Sequence[OrganizationId]
) -> dict[OrganizationId, tuple[MonthResult, ...]]:
    """The months of these organizations' results, oldest first."""
    rows = await session.execute(
        sa.select(RerateMonthRow)
        .where(col(RerateMonthRow.rerate_id) == rerate_id, col(RerateMonthRow.organization_id).in_(organization_ids))
        .order_by(col(RerateMonthRow.organization_id), col(RerateMonthRow.month))
    )
    found: dict[OrganizationId, tuple[MonthResult, ...]] = {}
    for row in rows.scalars():
        values = {name: getattr(row, name) for name in _OF_MONTHS}
        found[row.organization_id] = (
            *found.get(row.organization_id, ()),
            MonthResult(month=Month.named(row.month), **values),
        )
    return found


def _result(row: RerateResultRow) -> Result:
    plain = ("organization_id", "rerate_id", "cut", "measured_at", "calls", "calls_spared", "amount", "new_amount")
    return Result(
        **{name: getattr(row, name) for name in plain},
        percents=tuple(row.percents),
        unpriced=frozenset(Kind(kind) for kind in row.unpriced),
        lacking=tuple(PriceVersionId(version_id) for version_id in row.lacking),
        posted_at=row.posted_at,
        adjustment_id=row.adjustment_id,
    )
