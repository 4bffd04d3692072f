"""What must hold of the ledger, whatever else is true: balances are the fold of transfers, and grants add up.

Everything is derived from the transfers, because they are the one thing here that is never changed.
"""

from collections.abc import Sequence

from tollgate.kit.checks import Check

_BALANCES = Check(
    "account balances",
    "Every cached balance is the sum of its account's transfers.",
    """
    SELECT organization_id, format('%s of account %s in %s', side.name, account, currency), side.folded, side.kept
    FROM (SELECT organization_id, account, currency, sum(debit) AS debits, sum(credit) AS credits
          FROM (SELECT organization_id, debit_account AS account, currency, amount AS debit, 0 AS credit FROM transfers
                UNION ALL
                SELECT organization_id, credit_account, currency, 0, amount FROM transfers) AS posted
          GROUP BY organization_id, account, currency) AS folded
    FULL JOIN ledger_accounts AS kept USING (organization_id, account, currency)
    CROSS JOIN LATERAL (VALUES ('debits', folded.debits, kept.debits), ('credits', folded.credits, kept.credits))
        AS side (name, folded, kept)
    WHERE coalesce(side.folded, 0) <> coalesce(side.kept, 0)
    """,
)

_BALANCED = Check(
    "debits equal credits",
    "The debits of all accounts of an organization equal their credits, currency by currency.",
    """
    SELECT organization_id, format('credits of all accounts in %s', currency), sum(debits), sum(credits)
    FROM ledger_accounts
    GROUP BY organization_id, currency
    HAVING sum(debits) <> sum(credits)
    """,
)

# Credit is added to a grant's account once, when it is made; all that is taken was burned or, in the end, left unused.
# What comes back by the reversal of a transfer that burned it was not taken.
_GRANT_MOVEMENTS = """
    SELECT organization_id, account, currency, sum(added) AS added, sum(taken) AS taken, sum(unused) AS unused
    FROM (SELECT organization_id, credit_account AS account, currency,
                 CASE WHEN reverses_id IS NULL THEN amount ELSE 0 END AS added,
                 CASE WHEN reverses_id IS NULL THEN 0 ELSE -amount END AS taken, 0 AS unused
          FROM transfers WHERE credit_account LIKE 'credits:%'
          UNION ALL
          SELECT organization_id, debit_account, currency, 0, amount,
                 CASE WHEN cause IN ('expiry', 'void') THEN amount ELSE 0 END
          FROM transfers WHERE debit_account LIKE 'credits:%') AS posted
    GROUP BY organization_id, account, currency
"""

_GRANT_ACCOUNTS = Check(
    "grant accounts",
    "The account of every grant holds what the grant says remains of it, and no such account is without its grant.",
    f"""
    SELECT organization_id, format('what remains on %s in %s', account, currency), added - taken, remaining
    FROM (SELECT organization_id, 'credits:' || id AS account, currency, remaining FROM grants) AS granted
    FULL JOIN ({_GRANT_MOVEMENTS}) AS moved USING (organization_id, account, currency)
    WHERE remaining IS DISTINCT FROM added - taken
    """,
)

_GRANTS_ADD_UP = Check(
    "grants add up",
    "Every grant was funded in full: granted = burned + expired + voided + remaining.",
    f"""
    SELECT g.organization_id, format('%s grt_%s in %s', part.name, g.id, g.currency), part.said, part.posted
    FROM grants AS g
    LEFT JOIN ({_GRANT_MOVEMENTS}) AS moved
        ON moved.organization_id = g.organization_id AND moved.account = 'credits:' || g.id
           AND moved.currency = g.currency
    CROSS JOIN LATERAL (
        VALUES ('funding of', g.amount, coalesce(moved.added, 0)),
               ('burned, expired, voided and remaining of', g.amount, coalesce(moved.taken, 0) + g.remaining),
               ('expired or voided of', g.unused, coalesce(moved.unused, 0))) AS part (name, said, posted)
    WHERE part.said <> part.posted
    """,
)

_ADJUSTMENTS = Check(
    "adjustments",
    "Every adjustment was posted at its amount, a charge as much from credits as it says, and none without a record.",
    """
    SELECT organization_id, format('%s adj_%s in %s', part.name, id, currency), part.said, part.posted
    FROM adjustments AS a
    FULL JOIN (SELECT organization_id, cause_id AS id, currency,
                      sum(CASE WHEN credit_account LIKE 'credits:%' THEN amount ELSE -amount END) AS amount,
                      sum(amount) FILTER (WHERE debit_account LIKE 'credits:%') AS credits_amount
               FROM transfers WHERE cause = 'adjustment'
               GROUP BY organization_id, cause_id, currency) AS posted USING (organization_id, id, currency)
    CROSS JOIN LATERAL (VALUES ('transfers for', a.amount, posted.amount),
                               ('transfers from credits for', a.credits_amount, posted.credits_amount))
        AS part (name, said, posted)
    WHERE coalesce(part.said, 0) <> coalesce(part.posted, 0)
    """,
)

_REVERSALS = Check(
    "reversals",
    "Every reversal names a transfer and goes the other way, and no transfer is taken back by more than it moved.",
    """
    SELECT r.organization_id, format('what takes txn_%s back in %s', r.reverses_id, r.currency),
           'at most ' || coalesce(trim_scale(t.amount)::text, 'nothing'), trim_scale(sum(r.amount))::text
    FROM transfers AS r
    LEFT JOIN transfers AS t
        ON t.organization_id = r.organization_id AND t.id = r.reverses_id AND t.currency = r.currency
           AND t.debit_account = r.credit_account AND t.credit_account = r.debit_account
    WHERE r.reverses_id IS NOT NULL
    GROUP BY r.organization_id, r.reverses_id, r.currency, t.amount
    HAVING t.amount IS NULL OR sum(r.amount) > t.amount
    """,
)

CHECKS: Sequence[Check] = (_BALANCES, _BALANCED, _GRANT_ACCOUNTS, _GRANTS_ADD_UP, _ADJUSTMENTS, _REVERSALS)
"""Everything the ledger can prove of itself."""
