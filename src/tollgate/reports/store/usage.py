"""Sums of usage: of rollups, as far as they are added up already, or of the calls themselves where users are asked for.

Both sources yield the same facts, one per kind of a bucket or call: at, project_id, key_id, model, provider, user_id,
kind, calls, quantity, amount. What cuts, groups and filters them does not know where they came from. The quantity is
null of requests without a price, which are there to count calls and are no usage.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tollgate.infra.database import ReadSession
from tollgate.kit import ids
from tollgate.kit.period import Period
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind, UsageQuantities
from tollgate.metering import sums
from tollgate.reports.model import DayOfTokens, Dimension, Usage, UsageQuery

INSTANT = sa.DateTime(timezone=True)

CLOCK_SLACK = timedelta(hours=1)
"""How far the time in a call's id may lie from the time it was accepted. Only pruning of partitions relies on it."""

_CALLS_BINDS = {"organization_id", "since", "until", "starts"}
"""What the calls are asked by, of what the sums are."""

_COLUMNS = {
    Dimension.PROJECT: "project_id",
    Dimension.KEY: "key_id",
    Dimension.MODEL: "model",
    Dimension.PROVIDER: "provider",
    Dimension.KIND: "kind",
    Dimension.USER: "user_id",
    Dimension.TAG: "tag",
}

_FROM_RECORDS = """
    SELECT bucket AS at, nullif(project_id, :nothing) AS project_id, key_id, model, provider, NULL AS user_id,
           kind, calls, CASE WHEN kind <> 'request' OR unit IS NOT NULL THEN quantity END AS quantity, amount
    FROM records
"""

# A rollup row holds the one unit price of its kind, price version and tier, any discount or markup in it, so it prices
# each call that went into it. As in the rollups, a call that no provider served is no usage, and what an insured one
# used stands at no price.
_FROM_CALLS = """
    SELECT c.accepted_at AS at, c.project_id, c.key_id, c.model, c.provider, c.user_id, used.kind,
           CASE used.kind WHEN 'request' THEN 1 ELSE 0 END AS calls,
           CASE WHEN used.kind <> 'request' OR r.unit IS NOT NULL THEN used.quantity::numeric END AS quantity,
           coalesce(round(used.quantity::numeric * r.unit_price
                          * CASE r.unit WHEN 'per_million_tokens' THEN 0.000001 ELSE 1 END, 12), 0) AS amount
    FROM calls AS c
    CROSS JOIN LATERAL jsonb_each_text(jsonb_build_object('request', 1) || c.quantities) AS used (kind, quantity)
    LEFT JOIN rollups AS r
        ON r.organization_id = c.organization_id AND r.bucket = date_bin('15 minutes', c.accepted_at, 'epoch')
        AND r.invoice_cut = c.invoice_cut AND r.project_id = coalesce(c.project_id, :nothing) AND r.key_id = c.key_id
        AND r.model = c.model AND r.provider = c.provider
        AND r.price_version_id = coalesce(CASE WHEN c.status <> 'insured' THEN c.price_version_id END, :nothing)
        AND r.tier = c.tier AND r.kind = used.kind
    WHERE c.organization_id = :organization_id AND c.accepted_at >= :since AND c.accepted_at < :until
        AND c.id >= :first_id AND c.id < :last_id AND c.provider IS NOT NULL
"""

# A call counts once for each tag of its key, and once for no tag at all if its key has none.
_TAGS = """
    LEFT JOIN (SELECT DISTINCT k.id, tag FROM api_keys AS k CROSS JOIN unnest(k.tags) AS tag
               WHERE k.organization_id = :organization_id) AS tagged ON tagged.id = facts.key_id
"""
TAGGED = "key_id IN (SELECT k.id FROM api_keys AS k WHERE k.organization_id = :organization_id AND k.tags && :tag)"


async def usage(session: ReadSession, query: UsageQuery, *, pieces: Sequence[Period], rows_max: int) -> list[Usage]:
    """What was used in each of the pieces, which tile the query's window, by each group; at most so many rows."""
    groups = [_COLUMNS[dimension] for dimension in query.group_by]
    given = _by_calls(query) if query.by_user else await _by_sums(session, query, pieces)
    given |= {dimension.value: list(values) for dimension, values in query.filters.given().items()}
    given |= {"starts": [piece.start for piece in pieces], "nothing": ids.PLATFORM, "rows_max": rows_max}
    result = await session.execute(_statement(query), given)
    return [
        Usage(
            period=pieces[row.piece - 1],
            group={dimension: getattr(row, column) for dimension, column in zip(query.group_by, groups, strict=True)},
            calls=row.calls,
            quantities=UsageQuantities({Kind(kind): count for kind, count in row.quantities.items()}),
            amount=row.amount,
        )
        for row in result
    ]


def _statement(query: UsageQuery) -> sa.TextualSelect:
    groups = "".join(f", {_COLUMNS[dimension]}" for dimension in query.group_by)
    by_kind = Dimension.KIND in query.group_by
    kinds = groups if by_kind else f"{groups}, kind"
    counts = "quantity IS NOT NULL" if by_kind else "true"
    text = sa.text(f"""
        WITH {"" if query.by_user else f"{sums.RECORDS},"} counted AS (
            SELECT width_bucket(at, :starts) AS piece{kinds},
                   (sum(calls) FILTER (WHERE kind = 'request'))::bigint AS calls,
                   sum(quantity) AS quantity, sum(amount) AS amount
            FROM ({_FROM_CALLS if query.by_user else _FROM_RECORDS}) AS facts
            {_TAGS if Dimension.TAG in query.group_by else ""}
            WHERE {" AND ".join([counts, *(_wanted(dimension, query) for dimension in query.filters.given())])}
            GROUP BY piece{kinds}
        )
        SELECT piece{groups}, sum(calls)::bigint AS calls,
               coalesce(jsonb_object_agg(kind, quantity) FILTER (WHERE quantity IS NOT NULL), '{{}}') AS quantities,
               sum(amount) AS amount
        FROM counted
        GROUP BY piece{groups}
        ORDER BY piece{groups}
        LIMIT :rows_max
    """)
    return _typed(text, query).columns(quantities=JSONB)


def _wanted(dimension: Dimension, query: UsageQuery) -> str:
    if dimension is Dimension.TAG and dimension not in query.group_by:
        return TAGGED
    return f"{_COLUMNS[dimension]} = ANY (:{dimension})"


def _typed(statement: sa.TextClause, query: UsageQuery) -> sa.TextClause:
    wanted = [sa.bindparam(dimension, type_=sa.ARRAY(_value_type(dimension))) for dimension in query.filters.given()]
    shared = [each for each in sums.BINDS if each.key in _CALLS_BINDS or not query.by_user]
    bounds = [sa.bindparam(name, type_=sa.Uuid) for name in ("first_id", "last_id") if query.by_user]
    return statement.bindparams(sa.bindparam("nothing", type_=sa.Uuid), *shared, *bounds, *wanted)


def _value_type(dimension: Dimension) -> sa.types.TypeEngine[Any]:
    return sa.Uuid() if dimension in {Dimension.PROJECT, Dimension.KEY} else sa.Text()


def _by_calls(query: UsageQuery) -> dict[str, object]:
    window = query.window
    where: dict[str, object] = {"organization_id": query.organization_id, "since": window.start, "until": window.end}
    return where | id_bounds(window)


async def _by_sums(session: ReadSession, query: UsageQuery, pieces: Sequence[Period]) -> dict[str, object]:
    position = await sums.position(session, query.organization_id)
    starts = [piece.start for piece in pieces]
    return sums.asked(query.organization_id, position, window=query.window, starts=starts, cut=position.cut)


def id_bounds(window: Period) -> dict[str, object]:
    """Bounds on the ids of calls accepted in the window, so that only the partitions of its months are read."""
    return {
        "first_id": ids.lowest_uuid7(window.start - CLOCK_SLACK),
        "last_id": ids.lowest_uuid7(window.end + CLOCK_SLACK),
    }


_ACTIVITY = (
    sa.text("""
        SELECT date_trunc('day', bucket, 'UTC') AS day,
               coalesce(sum(quantity) FILTER (WHERE kind = ANY (:prompt_kinds)), 0) AS prompt_tokens,
               coalesce(sum(quantity) FILTER (WHERE kind = ANY (:completion_kinds)), 0) AS completion_tokens
        FROM rollups
        WHERE model = :model AND bucket >= :since
        GROUP BY day
        ORDER BY day
    """)
    .bindparams(
        sa.bindparam("since", type_=INSTANT),
        sa.bindparam("prompt_kinds", sorted(PROMPT_KINDS), type_=sa.ARRAY(sa.Text)),
        sa.bindparam("completion_kinds", sorted(COMPLETION_KINDS), type_=sa.ARRAY(sa.Text)),
    )
    .columns(day=INSTANT)
)


async def activity(session: ReadSession, *, model: str, since: datetime) -> list[DayOfTokens]:
    """The days of UTC from `since` on in which anyone used the model, oldest first."""
    result = await session.execute(_ACTIVITY, {"model": model, "since": since})
    return [DayOfTokens(row.day.date(), int(row.prompt_tokens), int(row.completion_tokens)) for row in result]
