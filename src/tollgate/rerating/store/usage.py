"""What an organization's records used and were charged, summed up by what decides their price."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit import ids
from tollgate.kit.ids import OrganizationId, PriceVersionId
from tollgate.kit.money import EXACT, ZERO
from tollgate.kit.period import Period
from tollgate.kit.tokens import PROMPT_KINDS, Kind, UsageQuantities
from tollgate.rerating.model import Key, Question, Sum

NOTHING = PriceVersionId(UUID(int=0))
"""Where records stand that nobody is charged for."""
INSTANT = sa.DateTime(timezone=True)
_CLOCK_SLACK = timedelta(hours=1)
"""How far the time in a call's id may lie from the time it was accepted. Only pruning of partitions relies on it."""

_SHARED: tuple[sa.BindParameter[Any], ...] = (
    *(sa.bindparam(name, type_=sa.Uuid()) for name in ("organization_id", "nothing")),
    *(sa.bindparam(name, type_=INSTANT) for name in ("since", "until")),
    sa.bindparam("versions", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("edges", type_=sa.ARRAY(INSTANT)),
    sa.bindparam("later_cuts", type_=sa.ARRAY(sa.Integer)),
)

_EXTENT = sa.text("""
    SELECT min(bucket) AS first, max(bucket) AS last FROM rollups
    WHERE organization_id = :organization_id AND bucket > :before AND bucket < :until
""").bindparams(
    sa.bindparam("organization_id", type_=sa.Uuid()),
    *(sa.bindparam(name, type_=INSTANT) for name in ("before", "until")),
)

_ROLLED_UP = sa.text("""
    SELECT price_version_id, tier, width_bucket(bucket, :edges) AS piece,
           width_bucket(invoice_cut, :later_cuts) AS generation, tier AS step, kind,
           CASE kind WHEN 'request' THEN sum(calls) ELSE sum(quantity) END AS quantity, sum(amount) AS charged,
           bool_or(unit_price IS NULL AND kind <> 'request') AS lacks_price
    FROM rollups
    WHERE organization_id = :organization_id AND bucket >= :since AND bucket < :until AND invoice_cut <= :cut
      AND (price_version_id = ANY (:versions)
           OR price_version_id = :nothing AND model = :model AND provider = :provider)
    GROUP BY 1, 2, 3, 4, 5, 6
""").bindparams(*_SHARED)

# Within a step of the prices rating is additive, so the calls of one step are summed up here.
_CALL_BY_CALL = sa.text("""
    SELECT charged_by.id AS price_version_id, c.tier, width_bucket(c.accepted_at, :edges) AS piece,
           width_bucket(c.invoice_cut, :later_cuts) AS generation, steps.at AS step, used.kind,
           sum(used.quantity::numeric) AS quantity,
           coalesce(sum(c.amount) FILTER (WHERE used.kind = 'request'), 0) AS charged,
           bool_or(c.status = 'unpriced') AS lacks_price
    FROM calls AS c
    CROSS JOIN LATERAL (
        SELECT coalesce(CASE WHEN c.status <> 'insured' THEN c.price_version_id END, :nothing) AS id
    ) AS charged_by
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(part.value::numeric), 0) AS tokens FROM jsonb_each_text(c.quantities) AS part
        WHERE part.key = ANY (:prompt_kinds)
    ) AS prompt
    CROSS JOIN LATERAL (SELECT max(at) AS at FROM unnest(:steps) AS at WHERE at <= prompt.tokens) AS steps
    CROSS JOIN LATERAL jsonb_each_text(jsonb_build_object('request', 1) || c.quantities) AS used (kind, quantity)
    WHERE c.organization_id = :organization_id AND c.id >= :first_id AND c.id < :last_id
      AND c.accepted_at >= :since AND c.accepted_at < :until AND c.invoice_cut <= :cut
      AND (charged_by.id = ANY (:versions)
           OR charged_by.id = :nothing AND c.model = :model AND c.provider = :provider)
    GROUP BY 1, 2, 3, 4, 5, 6
""").bindparams(
    *_SHARED,
    *(sa.bindparam(name, type_=sa.Uuid()) for name in ("first_id", "last_id")),
    sa.bindparam("steps", type_=sa.ARRAY(sa.BigInteger)),
    sa.bindparam("prompt_kinds", sorted(PROMPT_KINDS), type_=sa.ARRAY(sa.Text)),
)

_USERS = sa.text("""
    SELECT asked.id
    FROM unnest(:organization_ids) AS asked (id)
    WHERE EXISTS (SELECT FROM rollups AS r
                  WHERE r.organization_id = asked.id AND r.bucket > :before AND r.bucket < :until AND r.model = :model)
    ORDER BY asked.id
""").bindparams(
    sa.bindparam("organization_ids", type_=sa.ARRAY(sa.Uuid)),
    *(sa.bindparam(name, type_=INSTANT) for name in ("before", "until")),
)

_BUCKET = timedelta(minutes=15)


async def users(
    session: ReadSession, organization_ids: list[OrganizationId], *, model: str, window: Period
) -> list[OrganizationId]:
    """Those of the organizations that used the model in the quarter-hours of the window."""
    asked = {
        "organization_ids": organization_ids,
        "model": model,
        "before": window.start - _BUCKET,
        "until": window.end,
    }
    return [OrganizationId(row.id) for row in await session.execute(_USERS, asked)]


async def extent(session: ReadSession, organization_id: OrganizationId, window: Period) -> Period | None:
    """The part of the window in which the organization used anything; `None` if there is none."""
    asked = {"organization_id": organization_id, "before": window.start - _BUCKET, "until": window.end}
    row = (await session.execute(_EXTENT, asked)).one()
    if row.first is None:
        return None
    return Period(max(row.first, window.start), min(row.last + _BUCKET, window.end))


async def rolled_up(session: ReadSession, question: Question, period: Period) -> dict[tuple[Key, int], Sum]:
    """The sums of a stretch of whole quarter-hours, each with its price's tier; the tier stands for the step."""
    return _sums(await session.execute(_ROLLED_UP, _asked(question, period)))


async def call_by_call(session: ReadSession, question: Question, period: Period) -> dict[tuple[Key, int], Sum]:
    """The sums of any stretch, by the step that each call is in, each with its price's tier."""
    bounds = {
        "first_id": ids.lowest_uuid7(period.start - _CLOCK_SLACK),
        "last_id": ids.lowest_uuid7(period.end + _CLOCK_SLACK),
        "steps": list(question.steps),
    }
    return _sums(await session.execute(_CALL_BY_CALL, {**_asked(question, period), **bounds}))


def _asked(question: Question, period: Period) -> dict[str, Any]:
    edges: list[datetime] = list(question.edges)
    return {
        "organization_id": question.organization_id,
        "nothing": NOTHING,
        "model": question.terms.model,
        "provider": question.terms.provider,
        "versions": list(question.versions),
        "since": period.start,
        "until": period.end,
        "cut": question.cut,
        "edges": edges,
        # What was recorded after a layer's cut is at least of the next one.
        "later_cuts": [layer.cut + 1 for layer in question.layers] or [question.cut + 1],
    }


def _sums(rows: sa.Result[Any]) -> dict[tuple[Key, int], Sum]:
    counts: dict[tuple[Key, int], dict[Kind, int]] = {}
    charged: dict[tuple[Key, int], Decimal] = {}
    lacking: set[tuple[Key, int]] = set()
    for row in rows:
        place = Key(PriceVersionId(row.price_version_id), row.piece, row.generation, int(row.step)), int(row.tier)
        counts.setdefault(place, {})[Kind(row.kind)] = int(row.quantity)
        charged[place] = EXACT.add(charged.get(place, ZERO), row.charged)
        if row.lacks_price:
            lacking.add(place)
    return {
        place: Sum(UsageQuantities(used), charged[place], lacks_price=place in lacking)
        for place, used in counts.items()
    }
