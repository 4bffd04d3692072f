"""What must hold of calls and of everything that is summed up from them: charges, attempts, rollups and counters.

Charges are compared with the ledger's transfers, which `settle` posts in the transaction that records the call.
"""

from collections.abc import Sequence

from tollgate.kit.checks import Check, Severity
from tollgate.kit.tokens import COMPLETION_KINDS, Kind

_NONE = "CAST('00000000-0000-0000-0000-000000000000' AS uuid)"
"""Stands for "none" in the rollups' key, which admits no null."""

_CHARGES = Check(
    "charges",
    "Every call costs what the ledger charged for it, and as much of that was paid from credits as it says.",
    """
    SELECT calls.organization_id, format('%s gen_%s in %s', part.name, calls.id, calls.currency), part.said, part.posted
    FROM calls
    LEFT JOIN (SELECT organization_id, cause_id AS id, currency, sum(amount) AS amount,
                      sum(amount) FILTER (WHERE debit_account LIKE 'credits:%') AS credits_amount
               FROM transfers
               WHERE cause = 'call' AND credit_account = 'revenue'
                 AND (debit_account = 'unbilled' OR debit_account LIKE 'credits:%')
               GROUP BY organization_id, cause_id, currency) AS charged USING (organization_id, id, currency)
    CROSS JOIN LATERAL (VALUES ('transfers for', calls.amount, coalesce(charged.amount, 0)),
                               ('transfers from credits for', calls.credits_amount,
                                coalesce(charged.credits_amount, 0))) AS part (name, said, posted)
    WHERE part.said <> part.posted
    """,
)

_CHARGES_OF_NO_CALL = Check(
    "charges of no call",
    "There is no charge without its call.",
    """
    SELECT t.organization_id, format('transfers for gen_%s in %s', t.cause_id, t.currency), 0, sum(t.amount)
    FROM transfers AS t
    WHERE t.cause = 'call'
      AND NOT EXISTS (SELECT FROM calls AS c WHERE c.organization_id = t.organization_id AND c.id = t.cause_id)
    GROUP BY t.organization_id, t.cause_id, t.currency
    """,
)

_WRITTEN = ", ".join(f"'{kind}'" for kind in sorted(COMPLETION_KINDS))

_FREE_CALLS = Check(
    "calls that cost nothing",
    "Insured calls, calls that no provider served, and calls that broke off before any output cost nothing.",
    f"""
    SELECT organization_id, format('%s of gen_%s, %s', part.name, id, coalesce(status, '')), 0, part.amount
    FROM calls CROSS JOIN LATERAL (VALUES ('amount', amount), ('origin amount', origin_amount)) AS part (name, amount)
    WHERE (status = 'insured' OR provider IS NULL OR (status = 'failed' AND NOT quantities ?| ARRAY [{_WRITTEN}]))
      AND part.amount <> 0
    """,
)

# A call's key among the rollups, as `settle` makes it.
_ROLLUP_KEY = f"""
    organization_id, date_bin('15 minutes', accepted_at, 'epoch') AS bucket, invoice_cut,
    coalesce(project_id, {_NONE}) AS project_id, key_id, model, provider,
    coalesce(CASE WHEN status <> 'insured' THEN price_version_id END, {_NONE}) AS price_version_id, tier
"""
_ROLLUP_COLUMNS = "organization_id, bucket, invoice_cut, project_id, key_id, model, provider, price_version_id, tier"
_ROLLUP_NAME = (
    "to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"'), "
    f"CASE project_id WHEN {_NONE} THEN 'no project' ELSE 'prj_' || project_id END, "
    "key_id, model, provider, tier, invoice_cut"
)

_ROLLUP_SUMS = Check(
    "rollups",
    "Every quarter-hour of the rollups is the sum of its calls: their number, what they cost, and what credits paid.",
    f"""
    SELECT organization_id,
           format('%s of %s, %s, key_%s, %s at %s, tier %s, cut %s', part.name, {_ROLLUP_NAME}), part.folded, part.kept
    FROM (SELECT {_ROLLUP_COLUMNS}, count(*) AS calls, sum(amount) AS amount, sum(origin_amount) AS origin_amount,
                 sum(credits_amount) AS credits_amount
          FROM (SELECT {_ROLLUP_KEY}, amount, origin_amount, credits_amount
                FROM calls WHERE provider IS NOT NULL) AS served
          GROUP BY {_ROLLUP_COLUMNS}) AS folded
    FULL JOIN (SELECT {_ROLLUP_COLUMNS}, sum(calls) AS calls, sum(amount) AS amount,
                      sum(origin_amount) AS origin_amount, sum(credits_amount) AS credits_amount
               FROM rollups GROUP BY {_ROLLUP_COLUMNS}) AS kept USING ({_ROLLUP_COLUMNS})
    CROSS JOIN LATERAL (VALUES ('calls', folded.calls, kept.calls), ('amount', folded.amount, kept.amount),
                               ('origin amount', folded.origin_amount, kept.origin_amount),
                               ('credits amount', folded.credits_amount, kept.credits_amount))
        AS part (name, folded, kept)
    WHERE coalesce(part.folded, 0) <> coalesce(part.kept, 0)
    """,
)

# Which kinds of a call become rows is for rules.charge_records to say: all that were used, and one request.
_ROLLUP_QUANTITIES = Check(
    "rolled-up quantities",
    "Every quantity of the rollups is the sum of what their calls used of that kind.",
    f"""
    SELECT organization_id,
           format('%s of %s, %s, key_%s, %s at %s, tier %s, cut %s', kind, {_ROLLUP_NAME}), folded.quantity,
           kept.quantity
    FROM (SELECT {_ROLLUP_COLUMNS}, kind, sum(quantity) AS quantity
          FROM (SELECT {_ROLLUP_KEY}, used.kind, used.quantity
                FROM calls
                CROSS JOIN LATERAL (
                    SELECT key AS kind, CAST(value AS numeric) AS quantity
                    FROM jsonb_each_text(quantities) WHERE key <> '{Kind.REQUEST}'
                    UNION ALL
                    SELECT '{Kind.REQUEST}',
                           CASE WHEN status = 'insured' THEN 1
                                ELSE greatest(CAST(quantities ->> '{Kind.REQUEST}' AS numeric), 1) END
                ) AS used
                WHERE provider IS NOT NULL AND used.quantity <> 0) AS served
          GROUP BY {_ROLLUP_COLUMNS}, kind) AS folded
    FULL JOIN (SELECT {_ROLLUP_COLUMNS}, kind, quantity FROM rollups) AS kept USING ({_ROLLUP_COLUMNS}, kind)
    WHERE folded.quantity IS DISTINCT FROM kept.quantity
    """,
)

_SUMS_KEY = """
    organization_id, starts_at, ends_at, project_id, key_id, model, provider, price_version_id, tier, kind, unit,
    unit_price
"""
_SUMMED = ("calls", "quantity", "origin_amount", "amount", "credits_amount")

# Units and prices may be null, which no join takes for equal, so both sides are grouped together.
_USAGE_SUMS = Check(
    "usage sums",
    "Every day and month that usage was summed up for holds exactly the rollups up to the cut that was folded last.",
    f"""
    SELECT organization_id,
           format('%s of %s to %s of %s, %s, key_%s, %s at %s, tier %s', part.name, starts_at, ends_at, kind,
                  CASE project_id WHEN {_NONE} THEN 'no project' ELSE 'prj_' || project_id END, key_id, model, provider,
                  tier), part.folded, part.kept
    FROM (SELECT {_SUMS_KEY}, {", ".join(f"sum(r_{name}) AS r_{name}, sum({name}) AS {name}" for name in _SUMMED)}
          FROM (SELECT st.organization_id, st.starts_at, st.ends_at, project_id, key_id, model, provider,
                       price_version_id, tier, kind, unit, unit_price,
                       {", ".join(f"{name} AS r_{name}, 0 AS {name}" for name in _SUMMED)}
                FROM usage_stretches AS st
                JOIN usage_folds AS f ON f.organization_id = st.organization_id
                JOIN rollups AS r ON r.organization_id = st.organization_id AND r.invoice_cut <= f.cut
                    AND r.bucket >= st.starts_at AND r.bucket < st.ends_at
                UNION ALL
                SELECT {_SUMS_KEY}, {", ".join(f"0, {name}" for name in _SUMMED)} FROM usage_sums) AS both_sides
          GROUP BY {_SUMS_KEY}) AS s
    CROSS JOIN LATERAL (VALUES {", ".join(f"('{name.replace('_', ' ')}', r_{name}, {name})" for name in _SUMMED)})
        AS part (name, folded, kept)
    WHERE part.folded <> part.kept
    """,
)

_USAGE_STRETCHES = Check(
    "usage stretches",
    "Of two stretches that usage was summed up for, one holds the other or they do not meet, and nothing was folded "
    "that may still change.",
    """
    SELECT a.organization_id, format('the stretch from %s to %s', a.starts_at, a.ends_at), 'ended before it',
           'meets one from ' || b.starts_at || ' to ' || b.ends_at
    FROM usage_stretches AS a JOIN usage_stretches AS b USING (organization_id)
    WHERE a.starts_at < b.starts_at AND b.starts_at < a.ends_at AND a.ends_at < b.ends_at
    UNION ALL
    SELECT f.organization_id, 'the cut that was folded last', 'below ' || c.invoice_cut, f.cut::text
    FROM usage_folds AS f JOIN counters AS c ON c.organization_id = f.organization_id AND c.scope_id = c.organization_id
    WHERE f.cut >= c.invoice_cut
    """,
)

_SCOPES = "CROSS JOIN LATERAL (VALUES (organization_id), (project_id), (key_id)) AS scope (id)"
_SCOPE_NAME = "CASE scope_id WHEN organization_id THEN 'the organization' ELSE 'project or key ' || scope_id END"

_COUNTERS = Check(
    "counters",
    "Every scope's counter says what its calls cost, and what and how many its holds are.",
    f"""
    SELECT organization_id, format('%s of %s', part.name, {_SCOPE_NAME}), part.folded, part.kept
    FROM counters AS kept
    FULL JOIN (SELECT organization_id, scope.id AS scope_id, sum(amount) AS amount
               FROM calls {_SCOPES} WHERE scope.id IS NOT NULL
               GROUP BY organization_id, scope.id) AS used USING (organization_id, scope_id)
    FULL JOIN (SELECT organization_id, scope.id AS scope_id, sum(amount) AS amount, count(*) AS holds
               FROM holds {_SCOPES} WHERE scope.id IS NOT NULL
               GROUP BY organization_id, scope.id) AS held USING (organization_id, scope_id)
    CROSS JOIN LATERAL (VALUES ('total used', used.amount, kept.total_used),
                               ('total held', held.amount, kept.total_held),
                               ('concurrent calls', held.holds, kept.concurrent)) AS part (name, folded, kept)
    WHERE coalesce(part.folded, 0) <> coalesce(part.kept, 0)
    """,
)

# A hold names the windows it was counted in, so this is exact at every instant.
_HELD_IN_WINDOWS = Check(
    "holds in windows",
    "The day, week and month of every counter hold what was held in them and is held still.",
    f"""
    SELECT organization_id, format('held in the %s of %s', part.name, {_SCOPE_NAME}), coalesce(part.folded, 0),
           part.kept
    FROM (SELECT k.organization_id, k.scope_id, k.day_held, k.week_held, k.month_held,
                 sum(h.amount) FILTER (WHERE h.day_start = k.day_start) AS day,
                 sum(h.amount) FILTER (WHERE h.week_start = k.week_start) AS week,
                 sum(h.amount) FILTER (WHERE h.month_start = k.month_start) AS month
          FROM counters AS k
          LEFT JOIN (SELECT organization_id, scope.id AS scope_id, amount, day_start, week_start, month_start
                     FROM holds {_SCOPES} WHERE scope.id IS NOT NULL) AS h USING (organization_id, scope_id)
          GROUP BY k.organization_id, k.scope_id, k.day_held, k.week_held, k.month_held) AS c
    CROSS JOIN LATERAL (VALUES ('day', day, day_held), ('week', week, week_held), ('month', month, month_held))
        AS part (name, folded, kept)
    WHERE coalesce(part.folded, 0) <> part.kept
    """,
)

# A settled call does not tell in which window it was held. It was in that of its admission, which follows its
# acceptance by seconds at most: what was accepted just before a window began may be counted in it.
_USED_IN_WINDOWS = Check(
    "use of windows",
    "The day, week and month of every counter say what the calls accepted in them cost. They differ, with no damage, "
    "for the rest of a window in which the organization's time zone was changed or a clock was set back.",
    f"""
    WITH k AS MATERIALIZED (
        SELECT n.*, interval '1 minute' AS slack, following_window('day', n.day_start, o.timezone) AS day_end,
               following_window('week', n.week_start, o.timezone) AS week_end,
               following_window('month', n.month_start, o.timezone) AS month_end
        FROM (SELECT organization_id, scope_id, day_used, week_used, month_used,
                     nullif(day_start, '-infinity') AS day_start, nullif(week_start, '-infinity') AS week_start,
                     nullif(month_start, '-infinity') AS month_start FROM counters) AS n
        JOIN organizations AS o ON o.id = n.organization_id
    ), used AS (
        SELECT k.organization_id, k.scope_id, k.day_used, k.week_used, k.month_used,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.day_start AND c.accepted_at < k.day_end) AS day,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.day_start - k.slack) AS day_most,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.week_start AND c.accepted_at < k.week_end) AS week,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.week_start - k.slack) AS week_most,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.month_start AND c.accepted_at < k.month_end) AS month,
               sum(c.amount) FILTER (WHERE c.accepted_at >= k.month_start - k.slack) AS month_most
        FROM k
        LEFT JOIN (SELECT organization_id, scope.id AS scope_id, accepted_at, amount
                   FROM calls {_SCOPES} WHERE scope.id IS NOT NULL) AS c
            ON c.organization_id = k.organization_id AND c.scope_id = k.scope_id
               AND c.accepted_at >= least(k.week_start, k.month_start) - k.slack
        GROUP BY k.organization_id, k.scope_id, k.day_used, k.week_used, k.month_used
    )
    SELECT organization_id, format('used in the %s of %s', part.name, {_SCOPE_NAME}),
           trim_scale(coalesce(part.least, 0))
               || CASE WHEN part.least IS NOT DISTINCT FROM part.most THEN ''
                       ELSE ' to ' || trim_scale(part.most) END,
           trim_scale(part.kept)
    FROM used
    CROSS JOIN LATERAL (VALUES ('day', day, day_most, day_used), ('week', week, week_most, week_used),
                               ('month', month, month_most, month_used)) AS part (name, least, most, kept)
    WHERE part.kept NOT BETWEEN coalesce(part.least, 0) AND coalesce(part.most, 0)
    """,
    Severity.WARNING,
)

_ATTEMPTS = Check(
    "attempts",
    "Every call that a provider served has one attempt that served or was cancelled, every other call has none, and "
    "the attempts of a call are numbered without a gap.",
    """
    SELECT calls.organization_id, format('%s gen_%s', part.name, calls.id), part.expected, part.found
    FROM calls
    LEFT JOIN (SELECT organization_id, call_id AS id, count(*) AS attempts, count(DISTINCT ordinal) AS ordinals,
                      min(ordinal) AS lowest, max(ordinal) AS highest,
                      count(*) FILTER (WHERE status IN ('served', 'cancelled')) AS serving
               FROM attempts GROUP BY organization_id, call_id) AS tried USING (organization_id, id)
    CROSS JOIN LATERAL (
        VALUES ('attempts that served', CASE WHEN calls.provider IS NULL THEN '0' ELSE '1' END,
                coalesce(tried.serving, 0)::text),
               ('ordinals of the attempts of', '1 to ' || tried.attempts,
                CASE WHEN tried.ordinals = tried.attempts THEN '' ELSE 'with repeats, ' END
                || tried.lowest || ' to ' || tried.highest)) AS part (name, expected, found)
    WHERE part.expected <> part.found
    """,
)

_ATTEMPTS_OF_NO_CALL = Check(
    "attempts of no call",
    "There is no attempt without its call.",
    """
    SELECT a.organization_id, 'attempts of gen_' || a.call_id, 0, count(*)
    FROM attempts AS a
    WHERE NOT EXISTS (SELECT FROM calls AS c WHERE c.organization_id = a.organization_id AND c.id = a.call_id)
    GROUP BY a.organization_id, a.call_id
    """,
)

_ONE_ROW_PER_ID = Check(
    "one row per id",
    "No call and no attempt is there twice, in whatever partitions.",
    """
    SELECT organization_id, 'calls gen_' || id, 1, count(*)
    FROM calls GROUP BY organization_id, id HAVING count(*) > 1
    UNION ALL
    SELECT organization_id, 'attempts ' || id, 1, count(*)
    FROM attempts GROUP BY organization_id, id HAVING count(*) > 1
    """,
)

_EXPIRED_HOLDS = Check(
    "leases",
    "No hold is left whose lease is over: its call is neither settled nor given back.",
    """
    SELECT organization_id, 'the hold of gen_' || call_id, 'settled or given back',
           'held ' || trim_scale(amount) || ', lease until ' || lease_until
    FROM holds WHERE lease_until <= clock_timestamp()
    """,
    Severity.WARNING,
)

_UNPRICED_CALLS = Check(
    "unpriced calls",
    "Every kind of usage has a price, or was given one since by a re-rate.",
    """
    SELECT c.organization_id, format('calls of %s at %s without a price for all they used', c.model, c.provider), 0,
           count(*)
    FROM calls AS c
    WHERE c.status = 'unpriced'
      AND NOT EXISTS (SELECT FROM repriced_usage AS p
                      WHERE p.organization_id = c.organization_id AND p.price_version_id = c.price_version_id
                        AND c.accepted_at >= p.since AND c.accepted_at < p.until AND c.invoice_cut <= p.cut)
    GROUP BY c.organization_id, c.model, c.provider
    """,
    Severity.NOTE,
)

_DEFAULT_PARTITIONS = Check(
    "partitions",
    "Every call and attempt is in the partition of its month.",
    """
    SELECT organization_id, 'calls in calls_default', 0, count(*) FROM calls_default GROUP BY organization_id
    UNION ALL
    SELECT organization_id, 'attempts in attempts_default', 0, count(*) FROM attempts_default GROUP BY organization_id
    """,
    Severity.NOTE,
)

CHECKS: Sequence[Check] = (
    _CHARGES,
    _CHARGES_OF_NO_CALL,
    _FREE_CALLS,
    _ROLLUP_SUMS,
    _ROLLUP_QUANTITIES,
    _USAGE_SUMS,
    _USAGE_STRETCHES,
    _COUNTERS,
    _HELD_IN_WINDOWS,
    _USED_IN_WINDOWS,
    _ATTEMPTS,
    _ATTEMPTS_OF_NO_CALL,
    _ONE_ROW_PER_ID,
    _EXPIRED_HOLDS,
    _UNPRICED_CALLS,
    _DEFAULT_PARTITIONS,
)
"""Everything metering can prove, the heaviest consequences first."""
