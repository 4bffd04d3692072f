"""What must hold of payments at Stripe: top-ups are credited once, at their amount, from the money that is there."""

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
           AND funding.debit_account = 'stripe_clearing' AND funding.currency = t.currency
    LEFT JOIN (SELECT organization_id, cause_id, currency, sum(amount) AS amount FROM transfers
               WHERE cause = 'top_up' AND credit_account = 'tax' GROUP BY organization_id, cause_id, currency) AS tax
        ON tax.organization_id = t.organization_id AND tax.cause_id = t.id AND tax.currency = t.currency
    CROSS JOIN LATERAL (
        VALUES ('credit', CASE WHEN t.status = 'paid' THEN t.amount ELSE 0 END, coalesce(funding.amount, 0)),
               ('tax', CASE WHEN t.status = 'paid' THEN t.tax ELSE 0 END, coalesce(tax.amount, 0)))
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

CHECKS: Sequence[Check] = (_CREDITED, _PARKED, _EVENTS)
"""Everything payments can prove of themselves."""
