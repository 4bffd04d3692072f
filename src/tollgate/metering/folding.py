"""Folding of rollups into sums of days and months, for organizations that used much since it was done last.

A cut is drawn first, as invoices do it: what is recorded up to it never changes. What it closed is then added to the
sums in one transaction, which settling neither waits for nor notices. If that fails, it is folded with the next cut.
"""

from typing import NamedTuple

import sqlalchemy as sa

from tollgate.accounts import service as accounts
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId
from tollgate.kit.period import QUARTER_HOUR, Period
from tollgate.metering import rules, store, sums

ROWS_UNFOLDED = 10_000
"""How many rows of rollups wait before they are folded: so many are read in a few milliseconds."""

_NOTHING = -1
"""The cut before all."""
_INSTANT = sa.DateTime(timezone=True)
_UUID = sa.bindparam("id", type_=sa.Uuid)

_WITH_MUCH = sa.text("""
    SELECT c.organization_id FROM counters AS c LEFT JOIN usage_folds AS f USING (organization_id)
    WHERE c.scope_id = c.organization_id
      AND EXISTS (SELECT FROM rollups AS r
                  WHERE r.organization_id = c.organization_id AND r.invoice_cut > coalesce(f.cut, :nothing)
                  OFFSET :rows)
    ORDER BY c.organization_id
""")


async def with_much(session: ReadSession) -> list[OrganizationId]:
    """The organizations of which so much is not folded that it is worth it."""
    rows = await session.execute(_WITH_MUCH, {"nothing": _NOTHING, "rows": ROWS_UNFOLDED})
    return [OrganizationId(found) for found in rows.scalars()]


async def cut(session: WriteSession, organization_id: OrganizationId) -> int:
    """Draw a cut to fold up to. Its commit does not wait for the disk, nor do settlements that wait for its lock.

    If it is lost in a crash, so is everything after it: what was folded up to it, and what was recorded since.
    """
    await session.execute(sa.text("SET LOCAL synchronous_commit = off"))
    return await store.cut(session, organization_id)


_BEGIN = sa.text("""
    INSERT INTO usage_folds (organization_id, cut) VALUES (:id, :nothing) ON CONFLICT DO NOTHING
""").bindparams(_UUID)
_TAKE_TURN = sa.text("SELECT cut FROM usage_folds WHERE organization_id = :id FOR UPDATE SKIP LOCKED").bindparams(_UUID)
_EXTENT = sa.text("""
    SELECT min(bucket), max(bucket), count(*) AS rows FROM rollups
    WHERE organization_id = :id AND invoice_cut > :folded AND invoice_cut <= :cut
""").bindparams(_UUID)
_OVERLAPPING = sa.text("""
    SELECT starts_at, ends_at FROM usage_stretches WHERE organization_id = :id AND starts_at < :end AND ends_at > :start
""").bindparams(_UUID, sa.bindparam("start", type_=_INSTANT), sa.bindparam("end", type_=_INSTANT))
_FORGET = (
    sa.text("DELETE FROM usage_sums WHERE organization_id = :id").bindparams(_UUID),
    sa.text("DELETE FROM usage_stretches WHERE organization_id = :id").bindparams(_UUID),
)
_STRETCHES = (
    _UUID,
    sa.bindparam("starts", type_=sa.ARRAY(_INSTANT)),
    sa.bindparam("ends", type_=sa.ARRAY(_INSTANT)),
)
_ADD_STRETCHES = sa.text("""
    INSERT INTO usage_stretches (organization_id, starts_at, ends_at)
    SELECT :id, starts_at, ends_at FROM unnest(:starts, :ends) AS s (starts_at, ends_at)
    ON CONFLICT DO NOTHING
""").bindparams(*_STRETCHES)
_ROOM = sa.text("SET LOCAL work_mem = '64MB'")
_FOLD = sa.text(f"""
    INSERT INTO usage_sums AS s (organization_id, starts_at, ends_at, {sums.COLUMNS})
    SELECT :id, (CAST(:starts AS timestamptz[]))[n], (CAST(:ends AS timestamptz[]))[n], project_id, key_id, model,
           provider, price_version_id, tier, kind, unit, unit_price, sum(calls), sum(quantity), sum(origin_amount),
           sum(amount), sum(credits_amount)
    FROM (SELECT width_bucket(bucket, :starts) AS n, bucket, {sums.COLUMNS} FROM rollups
          WHERE organization_id = :id AND invoice_cut > :folded AND invoice_cut <= :cut) AS r
    WHERE bucket < (CAST(:ends AS timestamptz[]))[n]
    GROUP BY n, project_id, key_id, model, provider, price_version_id, tier, kind, unit, unit_price
    ON CONFLICT (organization_id, starts_at, ends_at, project_id, key_id, model, provider, price_version_id, tier, kind,
                 unit, unit_price)
    DO UPDATE SET calls = s.calls + excluded.calls, quantity = s.quantity + excluded.quantity,
                  origin_amount = s.origin_amount + excluded.origin_amount, amount = s.amount + excluded.amount,
                  credits_amount = s.credits_amount + excluded.credits_amount
""").bindparams(*_STRETCHES)
_FOLDED = sa.text("UPDATE usage_folds SET cut = :cut WHERE organization_id = :id").bindparams(_UUID)


class _Unfolded(NamedTuple):
    """What was recorded between two cuts: the days and the months it is of, and in how many rows."""

    days: list[Period]
    months: list[Period]
    rows: int


async def fold(session: WriteSession, organization_id: OrganizationId, *, up_to: int) -> int:
    """Add everything that was recorded up to a closed cut, and was not yet, to the sums; answers how many rows it was.

    Stretches follow the organization's calendar. Where that has changed since, with its time zone or the rules of that,
    everything is folded anew. Does nothing while somebody else folds.
    """
    folded = await _take_turn(session, organization_id)
    if folded is None or folded >= up_to:
        return 0
    unfolded = await _unfolded(session, organization_id, folded, up_to)
    if not await _agree(session, organization_id, unfolded):
        for statement in _FORGET:
            await session.execute(statement, {"id": organization_id})
        folded = _NOTHING
        unfolded = await _unfolded(session, organization_id, folded, up_to)
    await session.execute(_ROOM)
    for disjoint in filter(None, (unfolded.days, unfolded.months)):
        where: dict[str, object] = {"id": organization_id}
        where |= {"starts": [each.start for each in disjoint], "ends": [each.end for each in disjoint]}
        await session.execute(_ADD_STRETCHES, where)
        await session.execute(_FOLD, {**where, "folded": folded, "cut": up_to})
    await session.execute(_FOLDED, {"id": organization_id, "cut": up_to})
    return unfolded.rows


async def _take_turn(session: WriteSession, organization_id: OrganizationId) -> int | None:
    """The cut that was folded last, locked until the transaction ends; `None` if somebody else has the lock."""
    await session.execute(_BEGIN, {"id": organization_id, "nothing": _NOTHING})
    folded = (await session.execute(_TAKE_TURN, {"id": organization_id})).scalar_one_or_none()
    return None if folded is None else int(folded)


async def _unfolded(session: ReadSession, organization_id: OrganizationId, folded: int, up_to: int) -> _Unfolded:
    row = (await session.execute(_EXTENT, {"id": organization_id, "folded": folded, "cut": up_to})).one()
    if row.min is None:
        return _Unfolded([], [], 0)
    organization = await accounts.get_organization(session, organization_id)
    days, months = rules.stretches(Period(row.min, row.max + QUARTER_HOUR), organization.zone)
    return _Unfolded(days, months, row.rows)


async def _agree(session: ReadSession, organization_id: OrganizationId, unfolded: _Unfolded) -> bool:
    """Whether the stretches that there are sums of in that time are among its own."""
    every = {*unfolded.days, *unfolded.months}
    if not every:
        return True
    span = {"start": min(each.start for each in every), "end": max(each.end for each in every)}
    found = await session.execute(_OVERLAPPING, {"id": organization_id, **span})
    return {Period(row.starts_at, row.ends_at) for row in found} <= every
