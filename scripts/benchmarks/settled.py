"""The ledger of very many calls, held against what callers were told and a provider served, in the database itself."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
from scripts.benchmarks import books
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.traffic import Told

_TABLES = """
    CREATE TEMP TABLE told (call_id uuid, upstream_id text, cost numeric, is_whole boolean);
    CREATE TEMP TABLE provided (upstream_id text, model text, call text, quantities text, streamed text, ended text);
    CREATE TEMP TABLE prices (kind text, price numeric);
"""
_WRONGS = """
    WITH served AS (
        SELECT quantities,
               (SELECT sum(price * count::numeric) / 1000000
                FROM jsonb_each_text(quantities::jsonb) AS used (kind, count) JOIN prices USING (kind)) AS cost
        FROM (SELECT DISTINCT quantities FROM provided WHERE quantities <> '') AS each
    ), tried AS (
        SELECT call_id, count(*) AS attempts, min(status) AS status, min(upstream_id) AS upstream_id
        FROM attempts GROUP BY call_id
    ), taken AS (
        SELECT cause_id, sum(amount) AS amount FROM transfers WHERE cause = 'call' GROUP BY cause_id
    )
    SELECT count(*) FILTER (WHERE c.id IS NULL) AS missing,
           count(*) FILTER (WHERE t.call_id IS NULL) AS strangers,
           count(*) FILTER (WHERE (c.status, tried.attempts, tried.status, tried.upstream_id, t.is_whole, p.ended,
                                   c.quantities::jsonb - 'request', c.amount, taken.amount, t.cost)
                              IS DISTINCT FROM ('settled', 1, 'served', t.upstream_id, true, 'served',
                                                p.quantities::jsonb, served.cost, served.cost, served.cost)) AS wrong,
           count(*) - count(DISTINCT t.call_id) AS twice,
           count(c.id) AS recorded,
           coalesce(sum(c.amount), 0) AS amount
    FROM told AS t
    FULL JOIN calls AS c ON c.id = t.call_id
    LEFT JOIN tried ON tried.call_id = c.id
    LEFT JOIN taken ON taken.cause_id = c.id
    LEFT JOIN provided AS p ON p.upstream_id = t.upstream_id
    LEFT JOIN served ON served.quantities = p.quantities
"""
_SERVED_BESIDE = """
    SELECT count(*) FROM provided AS p LEFT JOIN told AS t USING (upstream_id) WHERE t.call_id IS NULL
"""


def write(file: Path, told: Sequence[Told]) -> None:
    """Add what answers said of themselves to a file."""
    with file.open("a") as out:
        for each in told:
            out.write(f"{each.generation_id}\t{each.upstream_id}\t{each.cost}\t{each.problem is None}\n")


async def check(group: Group, told: Path, provided: Path, prices: Mapping[str, Decimal]) -> dict[str, Any]:
    """What the ledger has, if every figure of it is right; whoever called got an answer.

    Raises:
        BenchFailed: it is not.
    """
    connection = await asyncpg.connect(group.database_url, timeout=60)
    try:
        await books.until_settled(connection)
        await connection.execute(_TABLES)
        await connection.copy_to_table("told", source=told)
        await connection.copy_to_table("provided", source=provided)
        await connection.executemany("INSERT INTO prices VALUES ($1, $2)", list(prices.items()))
        await connection.execute("ANALYZE told; ANALYZE provided; ANALYZE calls; ANALYZE attempts; ANALYZE transfers")
        found = dict(await connection.fetchrow(_WRONGS) or {})
        beside = await connection.fetchval(_SERVED_BESIDE)
        sums = dict(await connection.fetchrow(books.SUMS) or {})
    finally:
        await connection.close()
    recorded, amount = found.pop("recorded"), found.pop("amount")
    expected = {"counted": recorded, "rolled_up": amount, "burned": amount, "holds": 0, "held": 0}
    if any(found.values()) or beside or sums != expected:
        raise BenchFailed(
            f"The ledger is wrong: {found}, {beside} answers reached nobody, {sums} instead of {expected}."
        )
    return {"recorded": recorded, "amount": str(amount.normalize())}
