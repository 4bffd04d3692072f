"""What must hold of money at Stripe: the ledger has there what Stripe's movements leave, and everything was posted."""

from collections.abc import Sequence

from tollgate.kit.checks import Check, Severity

# In the ledger an organization's money at Stripe follows from payments, refunds and disputes, one by one; here from
# what Stripe says that moved. Both are only sure to know of the same once they were compared.
_CLEARING = Check(
    "money at Stripe",
    "What the ledger has at Stripe is what its movements and payouts leave there, up to the last comparison.",
    """
    SELECT organization_id, format('stripe_clearing in %s', currency), there.net, here.balance
    FROM (SELECT organization_id, currency, sum(net) AS net
          FROM (SELECT organization_id, currency, amount - fee AS net FROM stripe_movements
                UNION ALL
                SELECT organization_id, currency, CASE WHEN is_return THEN amount ELSE -amount END
                FROM stripe_payout_shares) AS moved
          GROUP BY organization_id, currency) AS there
    FULL JOIN (SELECT organization_id, currency, debits - credits AS balance FROM ledger_accounts
               WHERE account = 'stripe_clearing') AS here USING (organization_id, currency)
    WHERE coalesce(there.net, 0) <> coalesce(here.balance, 0)
      AND (SELECT max(t.posted_at) FROM transfers AS t
           WHERE t.organization_id = organization_id
             AND 'stripe_clearing' IN (t.debit_account, t.credit_account))
          < (SELECT max(began_at) FROM reconciliations)
    """,
    severity=Severity.WARNING,
)

_MOVEMENTS = Check(
    "Stripe's movements",
    "The fee of every movement at Stripe was posted, and every part of a payout left Stripe for the bank.",
    """
    SELECT organization_id, format('%s in %s', part, currency), said, posted
    FROM (SELECT organization_id, currency, 'processing_fees' AS part, sum(fee) AS said
          FROM stripe_movements GROUP BY organization_id, currency
          UNION ALL
          SELECT organization_id, currency, 'payouts', sum(CASE WHEN is_return THEN -amount ELSE amount END)
          FROM stripe_payout_shares GROUP BY organization_id, currency) AS recorded
    FULL JOIN (SELECT organization_id, currency,
                      CASE WHEN 'cash' IN (debit_account, credit_account) THEN 'payouts' ELSE 'processing_fees' END
                          AS part,
                      sum(CASE WHEN debit_account = 'stripe_clearing' THEN -amount ELSE amount END) AS posted
               FROM transfers
               WHERE cause = 'stripe' AND 'exchange' NOT IN (debit_account, credit_account)
               GROUP BY 1, 2, 3) AS moved USING (organization_id, currency, part)
    WHERE coalesce(said, 0) <> coalesce(posted, 0)
    """,
)

_COLLECTED = Check(
    "invoices to collect",
    "Every invoice with something due is being collected, or waits for a person: none was forgotten.",
    """
    SELECT i.organization_id, format('the collection of invoice %s', i.number), 'open or parked',
           coalesce(c.state, 'nothing')
    FROM invoices AS i LEFT JOIN collections AS c ON c.organization_id = i.organization_id AND c.invoice_id = i.id
    WHERE i.status = 'finalised' AND NOT coalesce(c.state IN ('open', 'parked') OR c.woken, false)
    """,
)

CHECKS: Sequence[Check] = (_CLEARING, _MOVEMENTS, _COLLECTED)
"""Everything that payments can prove."""
