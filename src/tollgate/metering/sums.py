"""Usage of any stretch of time, read from as few rows as there are: whole days and months, and rollups for the rest.

Workers fold rollups into sums (`folding.py`). What was recorded up to the cut they folded last is read from the longest
stretches that fit, and around these from rollups; what was recorded since is read from rollups alone. All of it is one
statement, and what it reads adds up to the rollups, whatever was folded and whenever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit.ids import OrganizationId
from tollgate.kit.period import Period

COLUMNS = """
    project_id, key_id, model, provider, price_version_id, tier, kind, unit, unit_price, calls, quantity, origin_amount,
    amount, credits_amount
"""
"""What sums say, and rollups too."""

# A piece of the window that the caller tells apart from the next has stretches to itself. If somebody folded since the
# position was read, nothing covers the window, and all of it is read from rollups: no record is counted twice. OFFSET 0
# has the stretches and the gaps looked up one by one, whatever the planner thinks of how many there are.
RECORDS = f"""
    fitting AS MATERIALIZED (
        SELECT starts_at, ends_at FROM usage_stretches
        WHERE organization_id = :organization_id AND starts_at >= :since AND ends_at <= :until
          AND width_bucket(starts_at, :starts) = width_bucket(ends_at - interval '1 microsecond', :starts)
          AND EXISTS (SELECT FROM usage_folds WHERE organization_id = :organization_id AND cut = :folded)
    ), cover AS MATERIALIZED (
        SELECT starts_at, ends_at FROM fitting
        WHERE NOT EXISTS (SELECT FROM fitting AS longer
                          WHERE longer.starts_at <= fitting.starts_at AND longer.ends_at >= fitting.ends_at
                            AND longer.ends_at - longer.starts_at > fitting.ends_at - fitting.starts_at)
    ), gaps AS MATERIALIZED (
        SELECT starts_at, ends_at
        FROM (SELECT ends_at AS starts_at, lead(starts_at, 1, :until) OVER (ORDER BY starts_at) AS ends_at FROM cover
              UNION ALL
              SELECT :since, coalesce(min(starts_at), :until) FROM cover) AS between_stretches
        WHERE starts_at < ends_at
    ), records AS (
        SELECT cover.starts_at AS bucket, s.*
        FROM cover CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM usage_sums
            WHERE organization_id = :organization_id AND starts_at = cover.starts_at AND ends_at = cover.ends_at
            OFFSET 0
        ) AS s
        UNION ALL
        SELECT r.*
        FROM gaps CROSS JOIN LATERAL (
            SELECT bucket, {COLUMNS} FROM rollups
            WHERE organization_id = :organization_id AND bucket >= gaps.starts_at AND bucket < gaps.ends_at
              AND bucket >= :since AND bucket < :until AND invoice_cut <= :folded
            OFFSET 0
        ) AS r
        UNION ALL
        SELECT bucket, {COLUMNS}
        FROM rollups
        WHERE organization_id = :organization_id AND invoice_cut = ANY (:cuts_unfolded)
          AND bucket >= :since AND bucket < :until
    )
"""
"""The rows, each at a `bucket` that is in the piece of the window whose usage it is; `asked` says which."""

_INSTANT = sa.DateTime(timezone=True)
BINDS: tuple[sa.BindParameter[Any], ...] = (
    sa.bindparam("organization_id", type_=sa.Uuid()),
    *(sa.bindparam(name, type_=_INSTANT) for name in ("since", "until")),
    sa.bindparam("starts", type_=sa.ARRAY(_INSTANT)),
    sa.bindparam("folded", type_=sa.Integer()),
    sa.bindparam("cuts_unfolded", type_=sa.ARRAY(sa.Integer())),
)
"""The types of what RECORDS asks for."""

_POSITION = sa.text("""
    SELECT counters.invoice_cut, usage_folds.cut
    FROM counters LEFT JOIN usage_folds USING (organization_id)
    WHERE counters.organization_id = :id AND counters.scope_id = :id
""").bindparams(sa.bindparam("id", type_=sa.Uuid))


@dataclass(frozen=True, slots=True)
class Position:
    """The cut that settlements belong to now, and the one up to which all is folded; `None` if nothing is."""

    cut: int
    folded: int | None


async def position(session: ReadSession, organization_id: OrganizationId) -> Position:
    """Where the organization's records are, and its sums."""
    row = (await session.execute(_POSITION, {"id": organization_id})).one_or_none()
    return Position(0, None) if row is None else Position(*row)


def asked(
    organization_id: OrganizationId, position: Position, *, window: Period, starts: Sequence[datetime], cut: int
) -> dict[str, object]:
    """What RECORDS asks for, of the records up to a cut; the starts are those of the pieces that tile the window."""
    folded = cut if position.folded is None or position.folded > cut else position.folded
    return {
        "organization_id": organization_id,
        "since": window.start,
        "until": window.end,
        "starts": list(starts),
        "folded": folded,
        "cuts_unfolded": list(range(folded + 1, cut + 1)),
    }
