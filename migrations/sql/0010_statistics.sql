-- How endpoints have been doing. Settling leaves samples, in the transaction that records the calls; workers fold them
-- into buckets, which is the only thing that changes those. Reading adds up buckets and the samples that still wait.

-- A queue: whatever is in it waits to be folded, each row once. Nothing but adding happens to it while calls settle.
CREATE TABLE endpoint_samples (
    endpoint_id  uuid NOT NULL,
    starts_at    timestamptz NOT NULL,  -- the five minutes of UTC in which the attempts began, by the time in their ids
    settled_at   timestamptz NOT NULL,
    ok           bigint NOT NULL,       -- attempts that were served
    failed       bigint NOT NULL,       -- attempts that failed for the endpoint's own fault
    latencies_ms integer[] NOT NULL,    -- to the first token, of streamed calls
    throughputs  bigint[] NOT NULL      -- in thousandths of a token per second, of calls that finished
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE endpoint_buckets (
    endpoint_id       uuid NOT NULL,
    grain             smallint NOT NULL,     -- in minutes: 5, an hour, or a day of UTC
    starts_at         timestamptz NOT NULL,
    ok                bigint NOT NULL,
    failed            bigint NOT NULL,
    latency_count     bigint NOT NULL,
    latency_sum       numeric(38, 0) NOT NULL,
    latency_min       bigint,                -- null without samples, and likewise the others
    latency_max       bigint,
    latency_sketch    bytea,                 -- as statistics.sketch writes it
    throughput_count  bigint NOT NULL,
    throughput_sum    numeric(38, 0) NOT NULL,
    throughput_min    bigint,
    throughput_max    bigint,
    throughput_sketch bytea,
    CONSTRAINT endpoint_buckets_pkey PRIMARY KEY (grain, starts_at, endpoint_id)
) WITH (fillfactor = 70);

-- From when on the buckets and samples hold everything that was recorded. Calls that were recorded before there were
-- statistics are in none. Whoever folds has the lock of these rows.
CREATE TABLE endpoint_grains (
    grain      smallint NOT NULL,
    whole_from timestamptz NOT NULL,
    CONSTRAINT endpoint_grains_pkey PRIMARY KEY (grain)
);
INSERT INTO endpoint_grains (grain, whole_from)
SELECT g.minutes,
       -- An hour from now whatever is recorded, was tried after this migration, by any process's clock.
       CASE WHEN EXISTS (SELECT FROM calls)
            THEN date_bin(g.minutes * interval '1 minute', clock_timestamp() + interval '1 hour', 'epoch')
                 + g.minutes * interval '1 minute'
            ELSE '-infinity' END
FROM (VALUES (5), (60), (1440)) AS g (minutes);

-- Records a batch of calls that ended: call, attempts, samples of how endpoints did, transfers, limits, rollups, and the
-- hold released, in one transaction. A call that is already recorded changes nothing, so a settlement may be sent again
-- at any time; within one batch a call may stand only once. Answers which calls were recorded by this very settlement,
-- by how much each exceeded its hold, and the amount at which it is recorded: of a call that was recorded before, the
-- earlier one.
--
-- The commit does not wait for the disk, or every other call of the organizations would wait with it: whoever settles
-- calls `flush_settlements` in a transaction of its own, and has nothing recorded before that has returned.
--
-- Some databases have the settle() of an earlier 0009, which did not answer the amount: that cannot be replaced in place.
DROP FUNCTION settle(call_record[], charge_record[], attempt_record[], timestamptz);
CREATE FUNCTION settle(p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz)
    RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric, recorded_amount numeric) LANGUAGE plpgsql AS
$$
DECLARE
    c_none CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    c_tokens_max CONSTANT numeric := 1000000000;  -- of one call, for a speed that every figure can bear
    v_counters counters[];
    v_new uuid[];
    v_credited uuid[];
    v_credits numeric[];
    v_released holds[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);

    SELECT array_agg(c) INTO v_counters
    FROM lock_counters(ARRAY (SELECT (q.organization_id, q.project_id, q.key_id)::caller FROM unnest(p_calls) AS q),
                       p_now) AS c;

    SELECT coalesce(array_agg(q.call_id), '{}') INTO v_new
    FROM unnest(p_calls) AS q
    WHERE NOT EXISTS (SELECT FROM calls AS c WHERE c.organization_id = q.organization_id AND c.id = q.call_id);

    SELECT coalesce(array_agg(paid.charged_call_id), '{}'), coalesce(array_agg(paid.from_credits), '{}')
    INTO v_credited, v_credits
    FROM ledger_charge_calls(
        ARRAY (SELECT (q.organization_id, q.call_id, q.amount, q.currency, q.accepted_at)::ledger_charge
               FROM unnest(p_calls) AS q WHERE q.call_id = ANY (v_new) AND q.amount > 0), p_now) AS paid;

    WITH released AS (
        DELETE FROM holds AS h USING unnest(p_calls) AS q
        WHERE h.organization_id = q.organization_id AND h.call_id = q.call_id
        RETURNING h.*
    )
    SELECT coalesce(array_agg(released::holds), '{}') INTO v_released FROM released;

    INSERT INTO calls (organization_id, id, project_id, key_id, accepted_at, settled_at, requested_model, model, provider,
                       endpoint_id, api, streamed, status, estimated, anomalous, finish_reason, native_finish_reason,
                       latency_ms, generation_ms, quantities, price_version_id, tier, currency, origin_amount, amount,
                       credits_amount, overrun_amount, provider_cost, user_id, session_id, metadata, invoice_cut,
                       estimate)
    SELECT q.organization_id, q.call_id, q.project_id, q.key_id, q.accepted_at, p_now, q.requested_model, q.model,
           q.provider, q.endpoint_id, q.api, q.streamed, q.status, q.estimated, q.anomalous, q.finish_reason,
           q.native_finish_reason, q.latency_ms, q.generation_ms, q.quantities, q.price_version_id, q.tier, q.currency,
           q.origin_amount, q.amount, coalesce(paid.amount, 0), greatest(q.amount - coalesce(h.amount, q.amount), 0),
           q.provider_cost, q.user_id, q.session_id, q.metadata, c.invoice_cut, q.estimate
    FROM unnest(p_calls) AS q
    JOIN counters AS c ON c.organization_id = q.organization_id AND c.scope_id = q.organization_id
    LEFT JOIN unnest(v_released) AS h ON h.call_id = q.call_id
    LEFT JOIN unnest(v_credited, v_credits) AS paid (call_id, amount) ON paid.call_id = q.call_id
    WHERE q.call_id = ANY (v_new);

    INSERT INTO attempts (organization_id, id, call_id, ordinal, endpoint_id, provider, status, http_status, error,
                          latency_ms, provider_cost, upstream_id, usage)
    SELECT a.* FROM unnest(p_attempts) AS a
    WHERE a.call_id = ANY (v_new);

    -- Of the attempts that tell of their endpoint, docs/statistics.md says which those are. Nothing is locked or looked up.
    INSERT INTO endpoint_samples (endpoint_id, starts_at, settled_at, ok, failed, latencies_ms, throughputs)
    SELECT s.endpoint_id, timestamptz 'epoch' + s.grain * interval '5 minutes', p_now,
           count(*) FILTER (WHERE s.ok), count(*) FILTER (WHERE NOT s.ok),
           coalesce(array_agg(s.latency_ms) FILTER (WHERE s.latency_ms IS NOT NULL), '{}'),
           coalesce(array_agg(s.throughput) FILTER (WHERE s.throughput IS NOT NULL), '{}')
    FROM (SELECT a.endpoint_id,
                 ('x' || left(a.id::text, 8) || substr(a.id::text, 10, 4))::bit(48)::bigint / 300000 AS grain,
                 a.status = 'served' AND a.error IS NULL AND q.status <> 'insured' AS ok,
                 CASE WHEN a.status = 'served' AND q.streamed THEN a.latency_ms END AS latency_ms,
                 -- In thousandths of a token per second, half up.
                 CASE WHEN written.tokens > 0
                      THEN (2000000 * written.tokens + q.generation_ms) / (2 * q.generation_ms) END AS throughput
          FROM unnest(p_attempts) AS a
          JOIN unnest(p_calls) AS q ON q.call_id = a.call_id
          LEFT JOIN LATERAL (
              SELECT least(coalesce((q.quantities ->> 'completion')::numeric, 0)
                           + coalesce((q.quantities ->> 'internal_reasoning')::numeric, 0)
                           + coalesce((q.quantities ->> 'output_audio')::numeric, 0)
                           + coalesce((q.quantities ->> 'output_image')::numeric, 0), c_tokens_max)::bigint
          ) AS written (tokens)
              ON a.status = 'served' AND q.status = 'settled' AND NOT q.estimated AND q.generation_ms > 0
          WHERE a.call_id = ANY (v_new)
            AND (a.status = 'served'
                 OR a.status = 'failed' AND coalesce(a.http_status, 0) NOT IN (400, 403, 404, 413, 422, 429)
                    AND coalesce(a.error, '') NOT IN ('invalid_request', 'rate_limit'))
         ) AS s
    GROUP BY s.endpoint_id, s.grain;

    PERFORM move_counters(v_counters, ARRAY (SELECT q FROM unnest(p_calls) AS q WHERE q.call_id = ANY (v_new)),
                          v_released);

    INSERT INTO rollups AS r (organization_id, bucket, invoice_cut, project_id, key_id, model, provider,
                              price_version_id, tier, kind, unit, unit_price, calls, quantity, origin_amount, amount,
                              credits_amount)
    SELECT q.organization_id, date_bin('15 minutes', q.accepted_at, 'epoch'), c.invoice_cut,
           coalesce(q.project_id, c_none), q.key_id, q.model, q.provider,
           coalesce(CASE WHEN q.status <> 'insured' THEN q.price_version_id END, c_none), q.tier, i.kind,
           min(i.unit), min(i.unit_price),
           count(*) FILTER (WHERE i.kind = 'request'), sum(i.quantity), sum(i.origin_amount), sum(i.amount),
           coalesce(sum(paid.amount) FILTER (WHERE i.kind = 'request'), 0)
    FROM unnest(p_calls) AS q
    JOIN unnest(p_charges) AS i ON i.call_id = q.call_id
    JOIN counters AS c ON c.organization_id = q.organization_id AND c.scope_id = q.organization_id
    LEFT JOIN unnest(v_credited, v_credits) AS paid (call_id, amount) ON paid.call_id = q.call_id
    WHERE q.call_id = ANY (v_new)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ON CONFLICT ON CONSTRAINT rollups_pkey DO UPDATE
        SET calls = r.calls + excluded.calls, quantity = r.quantity + excluded.quantity,
            origin_amount = r.origin_amount + excluded.origin_amount, amount = r.amount + excluded.amount,
            credits_amount = r.credits_amount + excluded.credits_amount;

    RETURN QUERY
        SELECT q.call_id, q.call_id = ANY (v_new), greatest(q.amount - coalesce(h.amount, q.amount), 0),
               CASE WHEN q.call_id = ANY (v_new) THEN q.amount
                    ELSE (SELECT c.amount FROM calls AS c
                          WHERE c.organization_id = q.organization_id AND c.id = q.call_id) END
        FROM unnest(p_calls) AS q LEFT JOIN unnest(v_released) AS h ON h.call_id = q.call_id;
END
$$;
