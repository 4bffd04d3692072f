"""What must hold of re-rates: months add up to what was measured, and that, when applied, was posted once."""

from collections.abc import Sequence

from tollgate.kit.checks import Check

_MONTHS = Check(
    "re-rated months",
    "The months of every measured re-rate add up to what it changes.",
    """
    SELECT r.organization_id, format('the %s of rerate_%s', part.name, r.rerate_id), part.said, coalesce(part.summed, 0)
    FROM rerate_results AS r
    LEFT JOIN (SELECT organization_id, rerate_id, sum(calls) AS calls, sum(amount) AS amount,
                      sum(new_amount) AS new_amount
               FROM rerate_months GROUP BY organization_id, rerate_id) AS months USING (organization_id, rerate_id)
    CROSS JOIN LATERAL (VALUES ('calls', r.calls, months.calls), ('amount', r.amount, months.amount),
                               ('new amount', r.new_amount, months.new_amount)) AS part (name, said, summed)
    WHERE r.measured_at IS NOT NULL AND part.said <> coalesce(part.summed, 0)
    """,
)

_POSTED = Check(
    "re-rated adjustments",
    "Every difference that a re-rate posted is an adjustment of just that, and of no other re-rate.",
    """
    SELECT r.organization_id, format('the adjustment of rerate_%s', r.rerate_id),
           trim_scale(r.amount - r.new_amount)::text, coalesce(trim_scale(a.amount)::text, 'none')
    FROM rerate_results AS r
    LEFT JOIN adjustments AS a ON a.organization_id = r.organization_id AND a.id = r.adjustment_id
    WHERE r.adjustment_id IS NOT NULL AND a.amount IS DISTINCT FROM r.amount - r.new_amount
    UNION ALL
    SELECT organization_id, 're-rates of adj_' || adjustment_id, '1', count(*)::text
    FROM rerate_results WHERE adjustment_id IS NOT NULL
    GROUP BY organization_id, adjustment_id HAVING count(*) > 1
    """,
)

_APPLIED = Check(
    "applied re-rates",
    "Nothing is posted of a re-rate that is not applied, and everything of one that is.",
    """
    SELECT r.organization_id, format('rerate_%s, which is %s', t.id, t.state),
           CASE t.state WHEN 'applied' THEN 'posted' ELSE 'not posted' END, coalesce(r.posted_at::text, 'not posted')
    FROM rerates AS t JOIN rerate_results AS r ON r.rerate_id = t.id
    WHERE CASE t.state WHEN 'applied' THEN r.posted_at IS NULL WHEN 'applying' THEN false
                       ELSE r.posted_at IS NOT NULL END
    """,
)

CHECKS: Sequence[Check] = (_POSTED, _APPLIED, _MONTHS)
"""Everything re-rating can prove, the heaviest consequences first."""
