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

_GRANT_MOVEMENTS = """
    SELECT organization_id, account, currency, sum(granted) AS granted, sum(added) AS added, sum(taken) AS taken
    FROM (SELECT organization_id, credit_account AS account, currency,
                 CASE cause WHEN 'grant' THEN amount ELSE 0 END AS granted, amount AS added, 0 AS taken
          FROM transfers WHERE credit_account LIKE 'credits:%'
          UNION ALL
          SELECT organization_id, debit_account, currency, 0, 0, amount
          FROM transfers WHERE debit_account LIKE 'credits:%') AS posted
    GROUP BY organization_id, account, currency
"""

_GRANT_ACCOUNTS = Check(
    "grants hold what remains",
    "The account of every grant holds what the grant says remains of it, and no such account is without its grant.",
    f"""
    SELECT organization_id, format('account %s in %s', account, currency), remaining, added - taken
    FROM (SELECT organization_id, 'credits:' || id AS account, currency, remaining FROM grants) AS grants
    FULL JOIN ({_GRANT_MOVEMENTS}) AS moved USING (organization_id, account, currency)
    WHERE remaining IS DISTINCT FROM added - taken
    """,
)

_GRANTS_ADD_UP = Check(
    "grants add up",
    "Every grant was funded once, and granted = burned + expired + voided + remaining.",
    f"""
    SELECT grants.organization_id, format('%s grt_%s in %s', side.name, grants.id, grants.currency), grants.amount,
           side.found
    FROM grants
    LEFT JOIN ({_GRANT_MOVEMENTS}) AS moved
        ON moved.organization_id = grants.organization_id AND moved.account = 'credits:' || grants.id
           AND moved.currency = grants.currency
    CROSS JOIN LATERAL (VALUES ('the funding of', coalesce(moved.granted, 0)),
                               ('burned, expired, voided and remaining of',
                                coalesce(moved.taken, 0) + grants.remaining)) AS side (name, found)
    WHERE grants.amount <> side.found
    """,
)

CHECKS: Sequence[Check] = (_BALANCES, _BALANCED, _GRANT_ACCOUNTS, _GRANTS_ADD_UP)
"""Everything the ledger can prove of itself."""
