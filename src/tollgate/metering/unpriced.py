"""Unpriced usage: what was used without a price, and whether it has got one since by a re-rate.

Records stay as they were recorded. What a re-rate priced is written down beside them, by price version, time and cut,
and from then on nothing waits for it any more; unpriced calls that are recorded later wait anew.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit import money
from tollgate.kit.ids import CallId, OrganizationId, PriceVersionId, ProjectId, RerateId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.metering.model import BilledUsage, RecordScope
from tollgate.metering.tables import RepricedUsageRow

CALLS_NAMED_MAX = 5
"""How many calls are named where some have no price: enough to look at."""

_NOTHING = UUID(int=0)
_UUID, _INSTANT = sa.Uuid(), sa.DateTime(timezone=True)
_FIRST = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

IS_REPRICED = """
    EXISTS (SELECT FROM repriced_usage AS p
            WHERE p.organization_id = c.organization_id AND p.price_version_id = c.price_version_id
              AND c.accepted_at >= p.since AND c.accepted_at < p.until AND c.invoice_cut <= p.cut)
"""
"""Of a call `c`: whether a re-rate gave all that it used a price."""

# A row of the rollups whose quarter-hour a re-rate covers wholly has its price; where one begins or ends within the
# quarter-hour, its calls are asked one by one.
_UNRESOLVED = sa.text(f"""
    SELECT project_id, model, kind, tier, price_version_id, unit, sum(waiting) AS quantity,
           min(bucket) FILTER (WHERE waiting > 0) AS first, max(bucket) FILTER (WHERE waiting > 0) AS last
    FROM (SELECT r.*,
                 CASE coverage.whole
                     WHEN true THEN 0
                     WHEN false THEN (
                         SELECT coalesce(sum(CAST(c.quantities ->> r.kind AS numeric)), 0) FROM calls AS c
                         WHERE c.organization_id = r.organization_id AND c.status = 'unpriced'
                           AND c.id >= lowest_uuid7(r.bucket - interval '1 hour')
                           AND c.id < lowest_uuid7(r.bucket + interval '2 hours')
                           AND c.accepted_at >= r.bucket AND c.accepted_at < r.bucket + interval '15 minutes'
                           AND c.invoice_cut = r.invoice_cut AND c.key_id = r.key_id
                           AND coalesce(c.project_id, :nothing) = r.project_id AND c.model = r.model
                           AND c.provider = r.provider AND c.price_version_id = r.price_version_id AND c.tier = r.tier
                           AND NOT {IS_REPRICED})
                     ELSE r.quantity
                 END AS waiting
          FROM (SELECT * FROM rollups
                WHERE organization_id = :organization_id AND bucket >= :previous_end AND bucket < :end
                  AND invoice_cut <= :cut
                UNION ALL
                SELECT * FROM rollups
                WHERE organization_id = :organization_id AND invoice_cut = ANY (:cuts_since) AND bucket < :late_end
               ) AS r
          CROSS JOIN LATERAL (
              SELECT bool_or(r.bucket >= p.since AND r.bucket + interval '15 minutes' <= p.until) AS whole
              FROM repriced_usage AS p
              WHERE p.organization_id = r.organization_id AND p.price_version_id = r.price_version_id
                AND r.invoice_cut <= p.cut
                AND p.since < r.bucket + interval '15 minutes' AND p.until > r.bucket
          ) AS coverage
          WHERE r.unit_price IS NULL AND r.kind <> 'request' AND r.price_version_id <> :nothing) AS lacking
    GROUP BY project_id, model, kind, tier, price_version_id, unit
    HAVING sum(waiting) > 0
    ORDER BY project_id, model, kind, tier, price_version_id
""").bindparams(
    *(sa.bindparam(name, type_=_UUID) for name in ("organization_id", "nothing")),
    *(sa.bindparam(name, type_=_INSTANT) for name in ("previous_end", "end", "late_end")),
    sa.bindparam("cuts_since", type_=sa.ARRAY(sa.Integer)),
)

_CALLS = sa.text(f"""
    SELECT c.id FROM calls AS c
    WHERE c.organization_id = :organization_id AND c.status = 'unpriced'
      AND c.id >= lowest_uuid7(:first - interval '1 hour') AND c.id < lowest_uuid7(:last + interval '2 hours')
      AND c.accepted_at >= :first AND c.accepted_at < :end AND c.invoice_cut <= :cut
      AND NOT (c.accepted_at < :previous_end AND c.invoice_cut <= :previous_cut)
      AND NOT {IS_REPRICED}
    ORDER BY c.id LIMIT :most
""").bindparams(
    sa.bindparam("organization_id", type_=_UUID),
    *(sa.bindparam(name, type_=_INSTANT) for name in ("end", "previous_end", "first", "last")),
)

_RESOLVED_BY = sa.text("""
    SELECT DISTINCT ON (c.id) c.id, p.rerate_id
    FROM calls AS c
    JOIN repriced_usage AS p
        ON p.organization_id = c.organization_id AND p.price_version_id = c.price_version_id
       AND c.accepted_at >= p.since AND c.accepted_at < p.until AND c.invoice_cut <= p.cut
    WHERE c.organization_id = :organization_id AND c.id = ANY (:call_ids)
    ORDER BY c.id, p.cut DESC
""").bindparams(sa.bindparam("organization_id", type_=_UUID), sa.bindparam("call_ids", type_=sa.ARRAY(sa.Uuid)))


@dataclass(frozen=True, slots=True)
class Unresolved:
    """The usage of a scope that has no price to this day, and the first of the calls that used it."""

    usages: tuple[BilledUsage, ...]
    call_ids: tuple[CallId, ...]


async def unresolved(session: ReadSession, organization_id: OrganizationId, scope: RecordScope) -> Unresolved:
    """What of the scope, late usage included, has no price and was given none since."""
    previous_end, previous_cut = scope.previous or (_FIRST, -1)
    asked = {
        "organization_id": organization_id,
        "nothing": _NOTHING,
        "end": scope.end,
        "cut": scope.cut,
        "previous_end": previous_end,
        "late_end": min(previous_end, scope.end),
        "cuts_since": [] if scope.previous is None else list(range(previous_cut + 1, scope.cut + 1)),
    }
    rows = (await session.execute(_UNRESOLVED, asked)).all()
    if not rows:
        return Unresolved((), ())
    usages = tuple(
        BilledUsage(
            project_id=None if row.project_id == _NOTHING else ProjectId(row.project_id),
            model=row.model,
            kind=Kind(row.kind),
            tier=row.tier,
            price_version_id=PriceVersionId(row.price_version_id),
            unit=row.unit,
            unit_price=None,
            late=False,
            calls=0,
            quantity=int(row.quantity),
            amount=money.ZERO,
            credits_amount=money.ZERO,
        )
        for row in rows
    )
    named = {
        **{name: asked[name] for name in ("organization_id", "end", "cut", "previous_end")},
        "previous_cut": previous_cut,
        "first": min(row.first for row in rows),
        "last": max(row.last for row in rows),
        "most": CALLS_NAMED_MAX,
    }
    return Unresolved(usages, tuple((await session.execute(_CALLS, named)).scalars()))


async def resolve(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    rerate_id: RerateId,
    versions: Collection[PriceVersionId],
    window: Period,
    cut: int,
) -> None:
    """Write down that all that these versions charged in the window, recorded up to the cut, has a price now."""
    if not versions:
        return
    rows = [
        {
            "organization_id": organization_id,
            "price_version_id": version_id,
            "rerate_id": rerate_id,
            "since": window.start,
            "until": window.end,
            "cut": cut,
        }
        for version_id in sorted(versions)
    ]
    await session.execute(postgresql.insert(RepricedUsageRow).values(rows).on_conflict_do_nothing())


async def resolved_by(
    session: ReadSession, *, organization_id: OrganizationId, call_ids: Collection[CallId]
) -> dict[CallId, RerateId]:
    """Of these calls, those that a re-rate gave a price to, with the last one that did."""
    if not call_ids:
        return {}
    rows = await session.execute(_RESOLVED_BY, {"organization_id": organization_id, "call_ids": list(call_ids)})
    return {CallId(row.id): RerateId(row.rerate_id) for row in rows}
