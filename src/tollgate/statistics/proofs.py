"""Proofs of statistics: buckets and what waits to be folded are what calls and attempts say, grain by grain.

The definitions of docs/statistics.md once more, from the recorded rows: a mistake of settling must not prove itself.
"""

from collections.abc import Sequence

from tollgate.kit.checks import Check, Severity
from tollgate.kit.tokens import COMPLETION_KINDS

_WRITTEN = ", ".join(f"'{kind}'" for kind in sorted(COMPLETION_KINDS))

# What each attempt tells, if it tells anything: null is no sample.
_TOLD = f"""
    SELECT a.endpoint_id,
           timestamptz 'epoch' + ('x' || left(replace(a.id::text, '-', ''), 12))::bit(48)::bigint
               * interval '1 millisecond' AS began_at,
           CASE WHEN a.status = 'served' AND a.error IS NULL AND c.status <> 'insured' THEN 1 ELSE 0 END AS ok,
           CASE WHEN a.status = 'served' AND a.error IS NULL AND c.status <> 'insured' THEN 0 ELSE 1 END AS failed,
           CASE WHEN a.status = 'served' AND c.streamed THEN a.latency_ms END AS latency,
           CASE WHEN a.status = 'served' AND c.status = 'settled' AND NOT c.estimated AND c.generation_ms > 0
                     AND written.tokens > 0
                THEN floor(least(written.tokens, 1000000000) * 1000000 / c.generation_ms + 0.5) END AS throughput
    FROM attempts AS a
    JOIN calls AS c ON c.organization_id = a.organization_id AND c.id = a.call_id
    CROSS JOIN LATERAL (SELECT sum(value::numeric) AS tokens FROM jsonb_each_text(c.quantities)
                        WHERE key IN ({_WRITTEN})) AS written
    WHERE a.id >= (SELECT lowest_uuid7(greatest(min(whole_from), 'epoch')) FROM endpoint_grains)
      AND (a.status = 'served'
           OR (a.status = 'failed' AND a.http_status IS DISTINCT FROM 400 AND a.http_status IS DISTINCT FROM 403
               AND a.http_status IS DISTINCT FROM 404 AND a.http_status IS DISTINCT FROM 413
               AND a.http_status IS DISTINCT FROM 422 AND a.http_status IS DISTINCT FROM 429
               AND a.error IS DISTINCT FROM 'invalid_request' AND a.error IS DISTINCT FROM 'rate_limit'))
"""
_STRETCH = "date_bin(g.grain * interval '1 minute', %s, 'epoch')"
_OF_SAMPLES = _STRETCH % "s.starts_at"
_SUMS = """sum(ok) AS ok, sum(failed) AS failed,
           sum(latency_count) AS latency_count, sum(latency_sum) AS latency_sum, min(latency_min) AS latency_min,
           max(latency_max) AS latency_max, sum(throughput_count) AS throughput_count,
           sum(throughput_sum) AS throughput_sum, min(throughput_min) AS throughput_min,
           max(throughput_max) AS throughput_max"""

_STATISTICS = Check(
    "endpoint statistics",
    "What is known of how endpoints did is what their attempts say: how many were served and failed; number, sum, "
    "least and most of latencies and throughputs.",
    f"""
    SELECT CAST(NULL AS uuid),
           format('%s of ep_%s in %s minutes from %s', part.name, endpoint_id, grain,
                  to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')), part.said, part.known
    FROM (SELECT g.grain, told.endpoint_id, {_STRETCH % "told.began_at"} AS starts_at,
                 sum(ok) AS ok, sum(failed) AS failed, count(latency) AS latency_count, sum(latency) AS latency_sum,
                 min(latency) AS latency_min, max(latency) AS latency_max, count(throughput) AS throughput_count,
                 sum(throughput) AS throughput_sum, min(throughput) AS throughput_min,
                 max(throughput) AS throughput_max
          FROM ({_TOLD}) AS told
          JOIN endpoint_grains AS g ON {_STRETCH % "told.began_at"} >= g.whole_from
          GROUP BY 1, 2, 3) AS said
    FULL JOIN (SELECT grain, endpoint_id, starts_at, {_SUMS}
               FROM (SELECT b.grain, b.endpoint_id, b.starts_at, b.ok, b.failed, b.latency_count, b.latency_sum,
                            b.latency_min, b.latency_max, b.throughput_count, b.throughput_sum, b.throughput_min,
                            b.throughput_max
                     FROM endpoint_buckets AS b
                     JOIN endpoint_grains AS g ON g.grain = b.grain AND b.starts_at >= g.whole_from
                     UNION ALL
                     SELECT g.grain, s.endpoint_id, {_OF_SAMPLES}, s.ok, s.failed,
                            cardinality(s.latencies_ms), (SELECT sum(v) FROM unnest(s.latencies_ms) AS v),
                            (SELECT min(v) FROM unnest(s.latencies_ms) AS v),
                            (SELECT max(v) FROM unnest(s.latencies_ms) AS v),
                            cardinality(s.throughputs), (SELECT sum(v) FROM unnest(s.throughputs) AS v),
                            (SELECT min(v) FROM unnest(s.throughputs) AS v),
                            (SELECT max(v) FROM unnest(s.throughputs) AS v)
                     FROM endpoint_samples AS s
                     JOIN endpoint_grains AS g ON {_OF_SAMPLES} >= g.whole_from) AS either
               GROUP BY grain, endpoint_id, starts_at) AS known USING (grain, endpoint_id, starts_at)
    CROSS JOIN LATERAL (
        VALUES ('served attempts', coalesce(said.ok, 0), coalesce(known.ok, 0)),
               ('failed attempts', coalesce(said.failed, 0), coalesce(known.failed, 0)),
               ('number of latencies', coalesce(said.latency_count, 0), coalesce(known.latency_count, 0)),
               ('sum of latencies', coalesce(said.latency_sum, 0), coalesce(known.latency_sum, 0)),
               ('least latency', said.latency_min, known.latency_min),
               ('most latency', said.latency_max, known.latency_max),
               ('number of throughputs', coalesce(said.throughput_count, 0), coalesce(known.throughput_count, 0)),
               ('sum of throughputs', coalesce(said.throughput_sum, 0), coalesce(known.throughput_sum, 0)),
               ('least throughput', said.throughput_min, known.throughput_min),
               ('most throughput', said.throughput_max, known.throughput_max)) AS part (name, said, known)
    WHERE part.said IS DISTINCT FROM part.known
    """,
    Severity.WARNING,
)

CHECKS: Sequence[Check] = (_STATISTICS,)
"""Everything statistics can prove."""
