"""What calls used, for whoever asks what they would have cost at other prices: summed up by rollups or call by call."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit.ids import OrganizationId, PriceVersionId
from tollgate.kit.money import ZERO
from tollgate.kit.period import Period
from tollgate.kit.tokens import PROMPT_KINDS, Kind, UsageQuantities
from tollgate.pricing.effects import Bulk
from tollgate.reports.store.usage import INSTANT, id_bounds

_ROLLED_UP = sa.text("""
    SELECT organization_id, price_version_id, tier, kind, sum(origin_amount) AS amount,
           CASE kind WHEN 'request' THEN sum(calls) ELSE sum(quantity) END AS quantity
    FROM rollups
    WHERE price_version_id = ANY (:versions) AND bucket >= :since AND bucket < :until
        AND (CAST(:organization_id AS uuid) IS NULL OR organization_id = :organization_id)
    GROUP BY organization_id, price_version_id, tier, kind
    ORDER BY organization_id, price_version_id, tier, kind
""").bindparams(
    sa.bindparam("versions", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("organization_id", type_=sa.Uuid),
    sa.bindparam("since", type_=INSTANT),
    sa.bindparam("until", type_=INSTANT),
)

# Within a step of the other prices rating is additive, so the calls of one step are summed up here.
_CALL_BY_CALL = sa.text("""
    SELECT c.organization_id, c.price_version_id, c.tier, steps.at AS step, used.kind,
           sum(used.quantity::numeric) AS quantity
    FROM unnest(:versions, :tiers) AS wanted (price_version_id, tier)
    JOIN calls AS c ON c.price_version_id = wanted.price_version_id AND c.tier = wanted.tier
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(part.value::numeric), 0) AS tokens FROM jsonb_each_text(c.quantities) AS part
        WHERE part.key = ANY (:prompt_kinds)
    ) AS prompt
    CROSS JOIN LATERAL (SELECT max(at) AS at FROM unnest(:steps) AS at WHERE at <= prompt.tokens) AS steps
    CROSS JOIN LATERAL jsonb_each_text(jsonb_build_object('request', 1) || c.quantities) AS used (kind, quantity)
    WHERE c.accepted_at >= :since AND c.accepted_at < :until AND c.id >= :first_id AND c.id < :last_id
        AND c.status <> 'insured' AND (CAST(:organization_id AS uuid) IS NULL OR c.organization_id = :organization_id)
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
""").bindparams(
    sa.bindparam("versions", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("tiers", type_=sa.ARRAY(sa.BigInteger)),
    sa.bindparam("steps", type_=sa.ARRAY(sa.BigInteger)),
    sa.bindparam("prompt_kinds", sorted(PROMPT_KINDS), type_=sa.ARRAY(sa.Text)),
    sa.bindparam("organization_id", type_=sa.Uuid),
    sa.bindparam("since", type_=INSTANT),
    sa.bindparam("until", type_=INSTANT),
    sa.bindparam("first_id", type_=sa.Uuid),
    sa.bindparam("last_id", type_=sa.Uuid),
)


async def rolled_up(
    session: ReadSession, versions: Sequence[PriceVersionId], *, window: Period, owner: OrganizationId | None
) -> list[Bulk]:
    """What these versions charged in the window, which begins and ends on a quarter-hour: one owner's calls, or all."""
    rows = await session.execute(
        _ROLLED_UP,
        {"versions": list(versions), "organization_id": owner, "since": window.start, "until": window.end},
    )
    counts: dict[tuple[OrganizationId, PriceVersionId, int], dict[Kind, int]] = {}
    amounts: dict[tuple[OrganizationId, PriceVersionId, int], Decimal] = {}
    for row in rows:
        key = (OrganizationId(row.organization_id), PriceVersionId(row.price_version_id), int(row.tier))
        counts.setdefault(key, {})[Kind(row.kind)] = int(row.quantity)
        amounts[key] = amounts.get(key, ZERO) + row.amount
    return [Bulk(*key, UsageQuantities(used), amounts[key]) for key, used in counts.items()]


async def call_by_call(
    session: ReadSession, bulks: Sequence[Bulk], steps: Sequence[int], *, window: Period, owner: OrganizationId | None
) -> Mapping[tuple[OrganizationId, int], UsageQuantities]:
    """What the calls of these bulks used, by organization and by the step of prompt tokens that each call is in."""
    wanted = sorted({(bulk.price_version_id, bulk.tier) for bulk in bulks})
    rows = await session.execute(
        _CALL_BY_CALL,
        {
            "versions": [version for version, _ in wanted],
            "tiers": [tier for _, tier in wanted],
            "steps": list(steps),
            "organization_id": owner,
            "since": window.start,
            "until": window.end,
            **id_bounds(window),
        },
    )
    found: dict[tuple[OrganizationId, int], UsageQuantities] = {}
    for row in rows:
        key = (OrganizationId(row.organization_id), int(row.step))
        found[key] = found.get(key, UsageQuantities()) + UsageQuantities({Kind(row.kind): int(row.quantity)})
    return found
