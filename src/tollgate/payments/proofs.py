"""What must hold of payments at Stripe: top-ups are credited once, invoices collected, and all that moved is posted."""

from collections.abc import Sequence

from tollgate.kit.checks import Check, Severity

_CREDITED = Check(
    "top-ups",
    "Every top-up that is paid was credited once, at its amount, from the money at Stripe, with its tax; no other was.",
    """
    SELECT t.organization_id, format('%s of tup_%s in %s', part.name, t.id, t.currency), part.said, part.posted
    FROM top_ups AS t
    LEFT JOIN grants AS g ON g.organization_id = t.organization_id AND g.reference = 'tup_' || t.id
    LEFT JOIN transfers AS funding
        ON funding.organization_id = g.organization_id AND funding.id = derived_id(g.id, 'grant')
           AND funding.debit_account = 'refundable' AND funding.currency = t.currency
    LEFT JOIN (SELECT organization_id, cause_id, currency,
                      sum(amount) FILTER (WHERE credit_account = 'tax') AS tax,
                      sum(amount) FILTER (WHERE credit_account = 'refundable') AS net
               FROM transfers WHERE cause = 'top_up' AND debit_account = 'stripe_clearing'
               GROUP BY organization_id, cause_id, currency) AS paid
        ON paid.organization_id = t.organization_id AND paid.cause_id = t.id AND paid.currency = t.currency
    CROSS JOIN LATERAL (
        VALUES ('credit', CASE WHEN t.status = 'paid' THEN t.amount ELSE 0 END, coalesce(funding.amount, 0)),
               ('money', CASE WHEN t.status = 'paid' THEN t.amount ELSE 0 END, coalesce(paid.net, 0)),
               ('tax', CASE WHEN t.status = 'paid' THEN t.tax ELSE 0 END, coalesce(paid.tax, 0)))
        AS part (name, said, posted)
    WHERE part.said <> part.posted OR (t.status = 'paid' AND t.grant_id IS DISTINCT FROM g.id)
    """,
)

_PARKED = Check(
    "parked top-ups",
    "No top-up waits for a person because what Stripe says does not fit.",
    "SELECT organization_id, format('tup_%s: %s', id, reason), NULL, 1 FROM top_ups WHERE status = 'parked'",
    Severity.WARNING,
)

_EVENTS = Check(
    "events of Stripe",
    "Every event that Stripe told of was acted on within an hour.",
    """
    SELECT NULL::uuid, format('%s %s: %s', type, id, coalesce(error, 'nobody took it')), NULL, attempts
    FROM stripe_events WHERE processed_at IS NULL AND received_at < now() - interval '1 hour'
    """,
    Severity.WARNING,
)

# In the ledger an organization's money at Stripe follows from payments, refunds and disputes, one by one; here from
# what Stripe says that moved. Both are only sure to know of the same once they were compared, so whoever's money moved
# after the last comparison is looked at after the next one.
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
      AND EXISTS (SELECT FROM reconciliations)
      AND NOT EXISTS (SELECT FROM transfers AS t
                      WHERE t.organization_id = coalesce(there.organization_id, here.organization_id)
                        AND 'stripe_clearing' IN (t.debit_account, t.credit_account)
                        AND t.posted_at >= (SELECT max(began_at) FROM reconciliations))
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

# Of a top-up, what goes back is posted under the row itself, and what comes back is partly a grant; of an invoice both
# are payments whose ids follow from Stripe's.
_GONE = Check(
    "refunds and disputes",
    "Of every refund and dispute as much is posted, or recorded for its invoice, as went back and did not come again.",
    """
    SELECT r.organization_id, format('%s %s in %s', r.cause, r.stripe_id, r.currency), r.gone, posted.amount
    FROM (SELECT organization_id, id, 'refund' AS cause, 'refund_failed' AS undone, stripe_refund_id AS stripe_id,
                 invoice_id, currency, CASE WHEN status IN ('sent', 'succeeded') THEN amount ELSE 0 END AS gone
          FROM refunds
          UNION ALL
          SELECT organization_id, id, 'dispute', 'dispute_won', stripe_dispute_id, invoice_id, currency,
                 withdrawn - returned
          FROM disputes) AS r
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(moved.amount), 0) AS amount
        FROM (SELECT CASE p.kind WHEN r.cause THEN p.amount ELSE -p.amount END AS amount
              FROM invoice_payments AS p
              WHERE p.organization_id = r.organization_id
                AND p.id IN (derived_id(r.invoice_id, format('stripe:%s:%s', r.stripe_id, r.cause)),
                             derived_id(r.invoice_id, format('stripe:%s:%s', r.stripe_id, r.undone)))
              UNION ALL
              SELECT CASE t.credit_account WHEN 'stripe_clearing' THEN t.amount ELSE -t.amount END
              FROM transfers AS t
              WHERE t.organization_id = r.organization_id AND t.cause_id = r.id AND t.cause = r.cause
              UNION ALL
              SELECT -g.amount FROM grants AS g
              WHERE g.organization_id = r.organization_id AND g.reference = 'back_' || r.id) AS moved
    ) AS posted
    WHERE posted.amount <> r.gone
    """,
)

CHECKS: Sequence[Check] = (_CREDITED, _GONE, _PARKED, _EVENTS, _CLEARING, _MOVEMENTS, _COLLECTED)
"""Everything payments can prove of themselves."""
