"""What must hold of issued invoices: they add up, tile time, have no gaps in their numbers, and are what was used.

They are compared with the rollups and charges that they were made from, and with the transfers that issuing posted.
"""

from collections.abc import Sequence

from tollgate.kit.checks import Check
from tollgate.kit.money import MINOR_UNIT_DECIMALS

_PARTS = {
    "usage": "subtotal",
    "adjustment": "adjustments",
    "fee": "fees",
    "commitment": "commitments",
    "discount": "discounts",
    "credits": "credits",
    "tax": "tax",
}
_SUMS = ", ".join(
    f"sum({amount}) FILTER (WHERE type = '{kind}') AS {amount.replace('amount', part)}"
    for kind, part in _PARTS.items()
    for amount in ("amount", "amount_exact")
)
_SAID = ", ".join(
    f"('{exact}{part}', i.{part}{suffix}, lines.{part}{suffix})"
    for part in ("total", *_PARTS.values())
    for exact, suffix in (("", ""), ("exact ", "_exact"))
)

_LINES = Check(
    "invoice lines",
    "The lines of every invoice add up to its totals, type by type, exactly and in minor units.",
    f"""
    SELECT i.organization_id, format('the %s of invoice %s', part.name, i.number), part.said, coalesce(part.summed, 0)
    FROM invoices AS i
    LEFT JOIN (SELECT organization_id, invoice_id AS id, sum(amount) AS total, sum(amount_exact) AS total_exact, {_SUMS}
               FROM invoice_lines GROUP BY organization_id, invoice_id) AS lines USING (organization_id, id)
    CROSS JOIN LATERAL (VALUES {_SAID}) AS part (name, said, summed)
    WHERE part.said <> coalesce(part.summed, 0)
    """,
)

_EXCEPTIONS = " ".join(f"WHEN '{currency}' THEN {decimals}" for currency, decimals in MINOR_UNIT_DECIMALS.items())
DECIMALS = f"CASE i.currency {_EXCEPTIONS} ELSE 2 END"
"""SQL for the decimals of the minor unit of `i.currency`."""

# PostgreSQL rounds a numeric half away from zero, as money.to_minor_units does.
_ROUNDING = Check(
    "invoice rounding",
    "The total of every invoice is its exact total, rounded once, and every line bears whole minor units of it.",
    f"""
    SELECT i.organization_id, format('the total of invoice %s in %s', i.number, i.currency),
           trim_scale(round(i.total_exact, {DECIMALS}))::text, trim_scale(i.total)::text
    FROM invoices AS i WHERE i.total <> round(i.total_exact, {DECIMALS})
    UNION ALL
    SELECT i.organization_id, format('line %s of invoice %s in %s', l.n, i.number, i.currency),
           'whole minor units, less than one from ' || trim_scale(l.amount_exact), trim_scale(l.amount)::text
    FROM invoices AS i
    JOIN invoice_lines AS l ON l.organization_id = i.organization_id AND l.invoice_id = i.id
    WHERE l.amount <> round(l.amount, {DECIMALS})
       OR abs(l.amount - l.amount_exact) >= CAST(10 AS numeric) ^ -({DECIMALS})
    """,
)

_TAX = Check(
    "invoice tax",
    "The tax on every invoice is its rate of the rounded net, or the part of the total that it makes up if included.",
    f"""
    SELECT i.organization_id, format('the tax of invoice %s in %s', i.number, i.currency), trim_scale(part.expected),
           trim_scale(i.tax_amount)
    FROM invoices AS i
    CROSS JOIN LATERAL (
        SELECT round(CASE i.tax_treatment WHEN 'exclusive' THEN (i.total - i.tax) * i.tax_rate / 100
                     WHEN 'inclusive' THEN i.total * i.tax_rate / (100 + i.tax_rate) ELSE 0 END,
                     {DECIMALS}) AS expected
    ) AS part
    WHERE part.expected <> i.tax_amount
    """,
)

_UNIT_PRICES = Check(
    "invoice unit prices",
    "Every usage line costs its quantity at its unit price.",
    """
    SELECT i.organization_id, format('line %s of invoice %s', l.n, i.number), priced.amount, l.amount_exact
    FROM invoices AS i
    JOIN invoice_lines AS l ON l.organization_id = i.organization_id AND l.invoice_id = i.id AND l.type = 'usage'
    CROSS JOIN LATERAL (SELECT l.quantity * l.unit_price
                               * CASE l.unit WHEN 'per_million_tokens' THEN 0.000001 ELSE 1 END AS amount) AS priced
    WHERE priced.amount <> l.amount_exact
    """,
)

_NUMBERS = Check(
    "invoice numbers",
    "The invoices and credit notes of every series are numbered from 1 without a gap, each number once.",
    """
    SELECT CAST(NULL AS uuid), format('documents numbered %s-%s', series, lpad(serial::text, 6, '0')),
           (serial < next_number)::integer, coalesce(issued.documents, 0)
    FROM (SELECT series, next_number, generate_series(1, next_number - 1) AS serial FROM invoice_series) AS given
    FULL JOIN (SELECT substring(number FROM '^(.*)-[0-9]+$') AS series,
                      CAST(substring(number FROM '-([0-9]+)$') AS bigint) AS serial, count(*) AS documents
               FROM (SELECT number FROM invoices UNION ALL SELECT number FROM credit_notes) AS numbered
               GROUP BY 1, 2) AS issued USING (series, serial)
    WHERE given.serial IS NULL OR coalesce(issued.documents, 0) <> 1
    """,
)

# The regions of time and cut that two invoices cover are apart if each begins where the one before it ended.
_WINDOWS = Check(
    "invoice windows",
    "Every invoice takes up where the one before it ended, in time and in the ledger: no record is on two of them.",
    """
    SELECT organization_id, format('%s of invoice %s', part.name, number), part.expected, part.found
    FROM (SELECT organization_id, number, period_start, period_end, cut, previous_end, previous_cut,
                 lag(period_end) OVER chain AS last_end, lag(cut) OVER chain AS last_cut
          FROM invoices WHERE status <> 'void'
          WINDOW chain AS (PARTITION BY organization_id, currency, kind ORDER BY month, cut)) AS i
    CROSS JOIN LATERAL (
        VALUES ('the end before the period', last_end IS NOT DISTINCT FROM previous_end, last_end::text,
                previous_end::text),
               ('the cut before', last_cut IS NOT DISTINCT FROM previous_cut, last_cut::text, previous_cut::text),
               ('the period', last_end IS NULL OR period_start >= last_end AND period_end > last_end,
                'after ' || last_end, period_start || ' to ' || period_end),
               ('the cut', last_cut IS NULL OR cut > last_cut, 'above ' || last_cut, cut::text)
    ) AS part (name, holds, expected, found)
    WHERE NOT part.holds
    """,
)

_IN_WINDOW = """
    {time} < i.period_end AND {table}.invoice_cut <= i.cut
    AND (i.previous_end IS NULL OR {time} >= i.previous_end OR {table}.invoice_cut > i.previous_cut)
"""

_RECORDS = Check(
    "invoices of what was used",
    "Every invoice charges for exactly the rollups of its window, and takes off what credits paid of them.",
    f"""
    SELECT i.organization_id, format('the %s of invoice %s', part.name, i.number), part.recorded, part.said
    FROM invoices AS i
    LEFT JOIN (SELECT i.organization_id, i.id, sum(r.amount) AS amount, sum(r.credits_amount) AS credits
               FROM invoices AS i JOIN rollups AS r ON r.organization_id = i.organization_id
                   AND {_IN_WINDOW.format(time="r.bucket", table="r")}
               GROUP BY i.organization_id, i.id) AS used USING (organization_id, id)
    LEFT JOIN (SELECT i.organization_id, i.id, sum(a.credits_amount) AS credits
               FROM invoices AS i JOIN adjustments AS a ON a.organization_id = i.organization_id
                   AND a.currency = i.currency AND a.amount < 0
                   AND {_IN_WINDOW.format(time="a.created_at", table="a")}
               GROUP BY i.organization_id, i.id) AS charged USING (organization_id, id)
    CROSS JOIN LATERAL (VALUES ('exact subtotal', coalesce(used.amount, 0), i.subtotal_exact),
                               ('exact credits', -coalesce(used.credits, 0) - coalesce(charged.credits, 0),
                                i.credits_exact)) AS part (name, recorded, said)
    WHERE part.recorded <> part.said
    """,
)

_ADJUSTMENTS = Check(
    "invoiced adjustments",
    "Every charge of an invoice's window is one of its lines, at its amount, and on no other invoice but void ones.",
    f"""
    SELECT organization_id, 'lines for the charge adj_' || id, '1 of ' || trim_scale(amount),
           count(l.n) || ' of ' || coalesce(trim_scale(sum(l.amount_exact))::text, 'nothing')
    FROM (SELECT a.organization_id, a.id, -a.amount AS amount
          FROM adjustments AS a JOIN invoices AS i ON i.organization_id = a.organization_id AND i.currency = a.currency
              AND {_IN_WINDOW.format(time="a.created_at", table="a")}
          WHERE a.amount < 0 AND i.status <> 'void') AS charged
    LEFT JOIN (SELECT l.organization_id, l.adjustment_id AS id, l.n, l.amount_exact
               FROM invoice_lines AS l
               JOIN invoices AS i ON i.organization_id = l.organization_id AND i.id = l.invoice_id
               WHERE l.type = 'adjustment' AND i.status <> 'void') AS l USING (organization_id, id)
    GROUP BY organization_id, id, amount
    HAVING count(l.n) <> 1 OR sum(l.amount_exact) <> amount
    """,
)

_AGREED = Check(
    "invoiced agreements",
    "The invoices that stand charge the fee of a subscription once a month, and take back no more of a commitment than"
    " they charged.",
    """
    SELECT organization_id, format('%s for %s in %s', part.name, agreement_id, month), part.most, part.found
    FROM (SELECT l.organization_id, l.agreement_id, coalesce(l.origin, i.month) AS month,
                 count(*) FILTER (WHERE l.type = 'fee') AS fees,
                 coalesce(sum(l.amount_exact) FILTER (WHERE l.type = 'commitment'), 0) AS commitment
          FROM invoice_lines AS l JOIN invoices AS i ON i.organization_id = l.organization_id AND i.id = l.invoice_id
          WHERE i.status <> 'void' AND l.agreement_id IS NOT NULL
          GROUP BY 1, 2, 3) AS agreed
    CROSS JOIN LATERAL (VALUES ('fees', fees <= 1, 1, CAST(fees AS numeric)),
                               ('the commitment', commitment >= 0, 0, commitment)) AS part (name, holds, most, found)
    WHERE NOT part.holds
    """,
)

_POSTINGS = Check(
    "invoice postings",
    "Issuing every invoice moved its exact total from unbilled to receivable, and posted the rounding, favours, tax and"
    " what was agreed beside usage.",
    """
    SELECT i.organization_id, format('%s of invoice %s in %s', part.name, i.number, i.currency), part.said,
           coalesce(part.posted, 0)
    FROM invoices AS i
    LEFT JOIN (SELECT organization_id, cause_id AS id, currency,
                      sum(amount) FILTER (WHERE debit_account = 'receivable' AND credit_account = 'unbilled') AS billed,
                      sum(CASE 'rounding' WHEN credit_account THEN amount WHEN debit_account THEN -amount END)
                          FILTER (WHERE 'receivable' IN (debit_account, credit_account)) AS rounded,
                      sum(amount) FILTER (WHERE debit_account LIKE 'credits:%' AND credit_account = 'unbilled') AS paid,
                      sum(CASE 'revenue' WHEN credit_account THEN amount WHEN debit_account THEN -amount END)
                          FILTER (WHERE 'unbilled' IN (debit_account, credit_account)) AS agreed,
                      sum(amount) FILTER (WHERE credit_account = 'tax') AS taxed
               FROM transfers WHERE cause = 'invoice' GROUP BY organization_id, cause_id, currency) AS posted
        USING (organization_id, id, currency)
    LEFT JOIN (SELECT organization_id, invoice_id AS id, -sum(amount_exact) AS amount FROM invoice_lines
               WHERE type = 'adjustment' AND amount_exact < 0 GROUP BY organization_id, invoice_id) AS favours
        USING (organization_id, id)
    CROSS JOIN LATERAL (VALUES ('transfers to receivable', i.total_exact, posted.billed),
                               ('the rounding', i.total - i.total_exact, posted.rounded),
                               ('fees, commitments and discounts',
                                i.fees_exact + i.commitments_exact + i.discounts_exact, posted.agreed),
                               ('the tax', i.tax_amount, posted.taxed),
                               ('favours', coalesce(favours.amount, 0), posted.paid)) AS part (name, said, posted)
    WHERE part.said <> coalesce(part.posted, 0)
    """,
)

_POSTINGS_OF_NO_INVOICE = Check(
    "postings of no invoice",
    "No transfer was posted for an invoice that is not there.",
    """
    SELECT t.organization_id, format('transfers for inv_%s in %s', t.cause_id, t.currency), 0, sum(t.amount)
    FROM transfers AS t
    WHERE t.cause = 'invoice'
      AND NOT EXISTS (SELECT FROM invoices AS i WHERE i.organization_id = t.organization_id AND i.id = t.cause_id)
    GROUP BY t.organization_id, t.cause_id, t.currency
    """,
)

CHECKS: Sequence[Check] = (
    _LINES,
    _ROUNDING,
    _TAX,
    _UNIT_PRICES,
    _NUMBERS,
    _WINDOWS,
    _RECORDS,
    _ADJUSTMENTS,
    _AGREED,
    _POSTINGS,
    _POSTINGS_OF_NO_INVOICE,
)
"""What can be proved of how invoices were issued."""
