"""What must hold of payments, credit notes and void invoices: they add up, and the ledger says the same of each."""

from collections.abc import Sequence

from tollgate.invoices.proofs.issuing import DECIMALS
from tollgate.kit.checks import Check

_NOTE_LINES = Check(
    "credit note lines",
    "The lines of every credit note add up to its total, exactly and in minor units, and its tax is that of its lines.",
    """
    SELECT c.organization_id, format('the %s of credit note %s', part.name, c.number), part.said,
           coalesce(part.summed, 0)
    FROM credit_notes AS c
    LEFT JOIN (SELECT organization_id, credit_note_id AS id, sum(amount) AS total, sum(amount_exact) AS total_exact,
                      sum(amount) FILTER (WHERE type = 'tax') AS tax
               FROM credit_note_lines GROUP BY organization_id, credit_note_id) AS lines USING (organization_id, id)
    CROSS JOIN LATERAL (VALUES ('total', c.total, lines.total), ('exact total', c.total_exact, lines.total_exact),
                               ('tax', c.tax, c.contained_tax + coalesce(lines.tax, 0))) AS part (name, said, summed)
    WHERE part.said <> coalesce(part.summed, 0)
    """,
)

_NOTE_ROUNDING = Check(
    "credit note rounding",
    "Every credit note is of whole minor units, and at most half of one from its exact total.",
    f"""
    SELECT i.organization_id, format('the total of credit note %s in %s', i.number, i.currency),
           'whole minor units, at most half of one from ' || trim_scale(i.total_exact), trim_scale(i.total)::text
    FROM credit_notes AS i
    WHERE i.total <> round(i.total, {DECIMALS})
       OR abs(i.total - i.total_exact) * 2 > CAST(10 AS numeric) ^ -({DECIMALS})
       OR EXISTS (SELECT FROM credit_note_lines AS l
                  WHERE l.organization_id = i.organization_id AND l.credit_note_id = i.id
                    AND l.amount <> round(l.amount, {DECIMALS}))
    """,
)

_CREDITED = """
    (SELECT organization_id, invoice_id AS id, sum(total) AS total, sum(total_exact) AS total_exact
     FROM credit_notes GROUP BY organization_id, invoice_id)
"""
_LEFT_OF_LINES = """
    (SELECT l.organization_id, l.invoice_id AS id, l.n, l.amount, l.amount_exact,
            coalesce(sum(c.amount), 0) AS credited, coalesce(sum(c.amount_exact), 0) AS credited_exact
     FROM invoice_lines AS l
     LEFT JOIN credit_note_lines AS c USING (organization_id, invoice_id, n)
     GROUP BY l.organization_id, l.invoice_id, l.n)
"""

_NOTES_WITHIN = Check(
    "credited invoices",
    "The credit notes of every invoice are what it says was credited; no line is credited beyond what it is, and an"
    " invoice that is credited wholly is so to the last digit, line by line.",
    f"""
    SELECT i.organization_id, format('credit notes for invoice %s', i.number), trim_scale(i.amount_credited)::text,
           trim_scale(-coalesce(c.total, 0))::text
    FROM invoices AS i LEFT JOIN {_CREDITED} AS c USING (organization_id, id)
    WHERE i.amount_credited <> -coalesce(c.total, 0)
    UNION ALL
    SELECT i.organization_id, format('what is left of line %s of invoice %s', l.n, i.number),
           CASE WHEN i.amount_credited = i.total THEN 'nothing' ELSE 'between nothing and ' || trim_scale(l.amount) END,
           trim_scale(l.amount + l.credited) || ', exactly ' || trim_scale(l.amount_exact + l.credited_exact)
    FROM invoices AS i
    JOIN {_LEFT_OF_LINES} AS l USING (organization_id, id)
    WHERE i.amount_credited <> 0
      AND CASE WHEN i.amount_credited = i.total
          THEN l.amount + l.credited <> 0 OR l.amount_exact + l.credited_exact <> 0
          ELSE abs(l.amount + l.credited) > abs(l.amount) OR sign(l.credited) * sign(l.amount) > 0 END
    """,
)

_NOTE_POSTINGS = Check(
    "credit note postings",
    "Every credit note took back its revenue, tax and rounding in the ledger; no such transfer is without a note.",
    """
    SELECT organization_id, format('%s of credit note %s', part.name, coalesce(c.number, 'cn_' || id)), part.said,
           coalesce(part.posted, 0)
    FROM credit_notes AS c
    FULL JOIN (SELECT organization_id, cause_id AS id, currency,
                      sum(CASE 'revenue' WHEN debit_account THEN amount WHEN credit_account THEN -amount END)
                          AS revenue,
                      sum(CASE 'tax' WHEN debit_account THEN amount WHEN credit_account THEN -amount END) AS tax,
                      sum(CASE 'rounding' WHEN debit_account THEN amount WHEN credit_account THEN -amount END)
                          AS rounding
               FROM transfers WHERE cause = 'credit_note'
               GROUP BY organization_id, cause_id, currency) AS posted USING (organization_id, id, currency)
    CROSS JOIN LATERAL (VALUES ('the revenue', c.tax - c.total_exact, posted.revenue), ('the tax', -c.tax, posted.tax),
                               ('the rounding', c.total_exact - c.total, posted.rounding)) AS part (name, said, posted)
    WHERE c.number IS NULL OR part.said <> coalesce(part.posted, 0)
    """,
)

_PAYMENTS = Check(
    "invoice payments",
    "What is paid of every invoice is what came in for it, less what went back.",
    """
    SELECT i.organization_id, format('payments of invoice %s in %s', i.number, i.currency), i.amount_paid,
           coalesce(p.amount, 0)
    FROM invoices AS i
    LEFT JOIN (SELECT organization_id, invoice_id AS id, currency,
                      sum(CASE WHEN kind NOT IN ('refund', 'dispute') THEN amount ELSE -amount END) AS amount
               FROM invoice_payments GROUP BY organization_id, invoice_id, currency) AS p
        USING (organization_id, id, currency)
    WHERE i.amount_paid <> coalesce(p.amount, 0)
    """,
)

_PAYMENT_POSTINGS = Check(
    "payment postings",
    "Every payment moved its amount between the customer's account and where the money is, or the credit it became.",
    """
    SELECT p.organization_id, format('the transfer of pay_%s in %s', p.id, p.currency),
           CASE WHEN p.kind NOT IN ('refund', 'dispute') THEN p.amount ELSE -p.amount END, coalesce(t.amount, 0)
    FROM invoice_payments AS p
    LEFT JOIN LATERAL (
        SELECT sum(CASE 'receivable' WHEN credit_account THEN amount ELSE -amount END) AS amount
        FROM transfers AS t
        WHERE t.organization_id = p.organization_id AND t.cause_id = p.id AND t.cause = 'payment'
          AND t.currency = p.currency AND 'receivable' IN (t.debit_account, t.credit_account)
          AND CASE p.method WHEN 'manual' THEN 'cash' IN (t.debit_account, t.credit_account)
                            WHEN 'stripe' THEN 'stripe_clearing' IN (t.debit_account, t.credit_account)
                            ELSE t.credit_account LIKE 'credits:%' END) AS t ON true
    WHERE coalesce(t.amount, 0) <> CASE WHEN p.kind NOT IN ('refund', 'dispute') THEN p.amount ELSE -p.amount END
    """,
)

_OF_INVOICE = "('invoice', 'invoice_void', 'uncollectible')"

_RECEIVABLE = Check(
    "receivable of invoices",
    "Of every invoice there is to come what is neither paid nor credited, and nothing of what was given up.",
    f"""
    SELECT i.organization_id, format('receivable of invoice %s in %s', i.number, i.currency), said.balance,
           coalesce(posted.balance, 0)
    FROM invoices AS i
    LEFT JOIN (SELECT organization_id, coalesce(p.invoice_id, c.invoice_id, cause_id) AS id, t.currency,
                      sum(CASE 'receivable' WHEN debit_account THEN t.amount ELSE -t.amount END) AS balance
               FROM transfers AS t
               LEFT JOIN (SELECT organization_id, id AS cause_id, 'payment' AS cause, invoice_id
                          FROM invoice_payments) AS p USING (organization_id, cause, cause_id)
               LEFT JOIN (SELECT organization_id, id AS cause_id, 'credit_note' AS cause, invoice_id
                          FROM credit_notes) AS c USING (organization_id, cause, cause_id)
               WHERE 'receivable' IN (debit_account, credit_account)
                 AND (t.cause IN {_OF_INVOICE} OR p.invoice_id IS NOT NULL OR c.invoice_id IS NOT NULL)
               GROUP BY 1, 2, 3) AS posted USING (organization_id, id, currency)
    CROSS JOIN LATERAL (SELECT CASE i.status WHEN 'uncollectible' THEN 0 WHEN 'void' THEN 0 ELSE i.total END
                               - CASE i.status WHEN 'uncollectible' THEN 0 ELSE i.amount_paid + i.amount_credited END
                               AS balance) AS said
    WHERE said.balance <> coalesce(posted.balance, 0)
    """,
)

_VOID = Check(
    "void invoices",
    "Every transfer of an invoice that was voided is taken back, none of another is, and every void has its reason.",
    """
    SELECT i.organization_id, format('what is taken back of txn_%s of invoice %s', t.id, i.number),
           CASE i.status WHEN 'void' THEN t.amount ELSE 0 END, coalesce(r.amount, 0)
    FROM invoices AS i
    JOIN transfers AS t ON t.organization_id = i.organization_id AND t.cause_id = i.id AND t.cause = 'invoice'
    LEFT JOIN (SELECT organization_id, reverses_id, sum(amount) AS amount FROM transfers
               WHERE cause = 'invoice_void' GROUP BY organization_id, reverses_id) AS r
        ON r.organization_id = t.organization_id AND r.reverses_id = t.id
    WHERE coalesce(r.amount, 0) <> CASE i.status WHEN 'void' THEN t.amount ELSE 0 END
    UNION ALL
    SELECT i.organization_id, format('voids of invoice %s', i.number), (i.status = 'void')::integer, count(a.id)
    FROM invoices AS i
    LEFT JOIN invoice_acts AS a ON a.organization_id = i.organization_id AND a.invoice_id = i.id AND a.kind = 'void'
    GROUP BY i.organization_id, i.id
    HAVING count(a.id) <> (i.status = 'void')::integer
    """,
)

CHECKS: Sequence[Check] = (
    _NOTE_LINES,
    _NOTE_ROUNDING,
    _NOTES_WITHIN,
    _NOTE_POSTINGS,
    _PAYMENTS,
    _PAYMENT_POSTINGS,
    _RECEIVABLE,
    _VOID,
)
