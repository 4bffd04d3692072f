"""What is in the books of an organization, as tests read it."""

from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

import asyncpg

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


async def cached_balances(pool: Pool) -> dict[tuple[UUID, str, str], tuple[Decimal, Decimal]]:
    """Debits and credits of every account, as the ledger keeps them."""
    rows = await pool.fetch("SELECT organization_id, account, currency, debits, credits FROM ledger_accounts")
    return {tuple(row[:3]): (row["debits"], row["credits"]) for row in rows}


async def folded_balances(pool: Pool) -> dict[tuple[UUID, str, str], tuple[Decimal, Decimal]]:
    """Debits and credits of every account, added up from the transfers."""
    rows = await pool.fetch("""
        SELECT organization_id, account, currency, sum(debit) AS debits, sum(credit) AS credits
        FROM (SELECT organization_id, debit_account AS account, currency, amount AS debit, 0 AS credit FROM transfers
              UNION ALL
              SELECT organization_id, credit_account, currency, 0, amount FROM transfers) AS side
        GROUP BY organization_id, account, currency
    """)
    return {tuple(row[:3]): (row["debits"], row["credits"]) for row in rows}


async def assert_balanced(pool: Pool) -> None:
    """Every cached balance is the fold of its transfers, and debits equal credits."""
    cached = await cached_balances(pool)
    assert cached == await folded_balances(pool)
    assert sum(debits - credits_ for debits, credits_ in cached.values()) == 0


async def assert_grants_add_up(pool: Pool) -> None:
    """Granted = burned + expired + voided + remaining, per grant: what the grant says is what was posted."""
    rows = await pool.fetch("""
        SELECT g.amount, g.remaining, g.unused, g.closed_at, a.debits AS taken, a.credits AS granted,
               coalesce(sum(t.amount) FILTER (WHERE t.cause NOT IN ('expiry', 'void')), 0) AS burned,
               coalesce(sum(t.amount) FILTER (WHERE t.cause = 'expiry'), 0) AS expired,
               coalesce(sum(t.amount) FILTER (WHERE t.cause = 'void'), 0) AS voided
        FROM grants AS g
        JOIN ledger_accounts AS a
          ON a.organization_id = g.organization_id AND a.account = 'credits:' || g.id AND a.currency = g.currency
        LEFT JOIN transfers AS t ON t.organization_id = g.organization_id AND t.debit_account = a.account
        GROUP BY g.organization_id, g.id, a.debits, a.credits
    """)
    assert len(rows) == await pool.fetchval("SELECT count(*) FROM grants")
    for row in rows:
        burned, expired, voided = row["burned"], row["expired"], row["voided"]
        assert row["granted"] == row["amount"] == burned + expired + voided + row["remaining"]
        assert row["taken"] == burned + expired + voided
        assert row["unused"] == expired + voided
        assert expired == 0 or voided == 0
        assert row["closed_at"] is None or row["remaining"] == 0
