-- Events reach those who listen: an event makes a delivery for each endpoint of its organization that wants it, in the
-- statement that writes it down. And what the database alone sees becomes events: limits that come near, credits that run
-- low, calls without a price.

-- Whoever emits has no part in who listens. What is told may have happened long ago: it is tried from when it was written.
-- An event that is there already makes no delivery again.
CREATE OR REPLACE FUNCTION emit_event(
    p_organization_id uuid, p_id uuid, p_type text, p_data jsonb, p_occurred_at timestamptz
) RETURNS void LANGUAGE sql AS $$
    WITH told AS (
        INSERT INTO events (organization_id, id, type, data, occurred_at)
        VALUES (p_organization_id, p_id, p_type, p_data, p_occurred_at)
        ON CONFLICT DO NOTHING
        RETURNING organization_id, id, type, recorded_at
    )
    INSERT INTO webhook_deliveries (organization_id, event_id, webhook_id, id, state, attempts, first_at, next_at)
    SELECT told.organization_id, told.id, w.id, derived_id(told.id, 'delivery:' || w.id), 'pending', 0,
           told.recorded_at, told.recorded_at
    FROM told JOIN webhooks AS w ON w.organization_id = told.organization_id
    WHERE w.disabled_because IS NULL AND (w.types IS NULL OR told.type = ANY (w.types))
$$;

CREATE TRIGGER events_never_change BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- An instant as the API writes it.
CREATE FUNCTION instant_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE STRICT AS $$
    SELECT replace(to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')
$$;

-- Tells of the limits of money of which the announced share is used, where counters stand: of each limit once per window,
-- share and amount.
-- What was told last stands in `limit_alerts`, whose rows belong to whoever holds the counters; so it is not forgotten
-- with old events, and a limit that is lowered below its share is told of as the next call settles.
CREATE FUNCTION tell_of_limits(p_counters counters[], p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_crossed record;
BEGIN
    FOR v_crossed IN
        SELECT c.organization_id, c.scope_id, w.name, w.cap, w.used, w.starts_at, w.unit, l.alert_percent, o.currency,
               o.timezone, c.scope_id = c.organization_id AS is_organization,
               EXISTS (SELECT FROM projects AS p
                       WHERE p.organization_id = c.organization_id AND p.id = c.scope_id) AS is_project
        FROM unnest(p_counters) AS c
        JOIN limits AS l ON l.organization_id = c.organization_id AND l.scope_id = c.scope_id
        JOIN organizations AS o ON o.id = c.organization_id
        CROSS JOIN LATERAL (VALUES ('total', l.total, c.total_used, '-infinity'::timestamptz, NULL),
                                   ('daily', l.daily, c.day_used, c.day_start, 'day'),
                                   ('weekly', l.weekly, c.week_used, c.week_start, 'week'),
                                   ('monthly', l.monthly, c.month_used, c.month_start, 'month'))
            AS w (name, cap, used, starts_at, unit)
        LEFT JOIN limit_alerts AS a ON a.organization_id = c.organization_id AND a.scope_id = c.scope_id
                                   AND a.name = w.name
        WHERE w.cap > 0 AND w.used * 100 >= w.cap * l.alert_percent
          AND (a.starts_at, a.cap, a.alert_percent) IS DISTINCT FROM (w.starts_at, w.cap, l.alert_percent)
        ORDER BY c.organization_id, c.scope_id, w.name
    LOOP
        INSERT INTO limit_alerts (organization_id, scope_id, name, starts_at, cap, alert_percent)
        VALUES (v_crossed.organization_id, v_crossed.scope_id, v_crossed.name, v_crossed.starts_at, v_crossed.cap,
                v_crossed.alert_percent)
        ON CONFLICT ON CONSTRAINT limit_alerts_pkey DO UPDATE
            SET starts_at = excluded.starts_at, cap = excluded.cap, alert_percent = excluded.alert_percent;
        PERFORM emit_event(
            v_crossed.organization_id,
            derived_id(v_crossed.scope_id, format('event:limit.threshold:%s:%s:%s:%s', v_crossed.name,
                                                  extract(epoch FROM v_crossed.starts_at),
                                                  trim_scale(v_crossed.cap), v_crossed.alert_percent)),
            'limit.threshold',
            jsonb_build_object(
                'scope', CASE WHEN v_crossed.is_organization THEN 'organization'
                              WHEN v_crossed.is_project THEN 'project' ELSE 'key' END,
                'id', CASE WHEN v_crossed.is_organization THEN 'org_' WHEN v_crossed.is_project THEN 'prj_'
                           ELSE 'key_' END || v_crossed.scope_id,
                'limit', v_crossed.name,
                'amount', trim_scale(v_crossed.cap)::text,
                'alert_percent', v_crossed.alert_percent,
                'used', trim_scale(v_crossed.used)::text,
                'currency', v_crossed.currency,
                'window_start', CASE WHEN v_crossed.unit IS NOT NULL THEN instant_text(v_crossed.starts_at) END,
                'resets_at', instant_text(following_window(v_crossed.unit, v_crossed.starts_at, v_crossed.timezone))),
            p_now);
    END LOOP;
END
$$;

-- Tells of calls that used something without a price: once a day (of UTC) for each organization, endpoint, price version
-- and set of kinds, however many calls there are.
CREATE FUNCTION tell_of_unpriced(p_calls call_record[], p_charges charge_record[], p_now timestamptz) RETURNS void
    LANGUAGE sql AS
$$
    SELECT emit_event(
        u.organization_id,
        derived_id(u.organization_id, format('event:call.unpriced:%s:%s:%s:%s', u.endpoint_id, u.price_version_id,
                                             u.kinds, u.day)),
        'call.unpriced',
        jsonb_build_object(
            'call', 'gen_' || u.call_id,
            'model', u.model,
            'provider', u.provider,
            'endpoint', 'ep_' || u.endpoint_id,
            'price_version', 'price_' || u.price_version_id,
            'kinds', to_jsonb(u.kinds),
            'day', u.day::text),
        p_now)
    FROM (SELECT DISTINCT ON (q.organization_id, q.endpoint_id, q.price_version_id, missing.kinds, spent.day)
                 q.organization_id, q.call_id, q.model, q.provider, q.endpoint_id, q.price_version_id, missing.kinds,
                 spent.day
          FROM unnest(p_calls) AS q
          CROSS JOIN LATERAL (SELECT coalesce(array_agg(i.kind ORDER BY i.kind), '{}') FROM unnest(p_charges) AS i
                              WHERE i.call_id = q.call_id AND i.unit_price IS NULL AND i.kind <> 'request')
              AS missing (kinds)
          CROSS JOIN LATERAL (VALUES ((q.accepted_at AT TIME ZONE 'UTC')::date)) AS spent (day)
          ORDER BY 1, 5, 6, 7, 8, 2) AS u
$$;

-- Tells of credits that fall below what their organization wants to be warned at: once, until they are at it again.
-- Whatever moves credits moves grants, so this hears of calls, top-ups, charges and ends alike. Grants that have expired
-- count until what is left of them is posted. Whatever lowers credits holds the organization's lock; a grant given at the
-- same time as that may be seen by the next of them only.
CREATE FUNCTION tell_of_low_credits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_alert record;
    v_told bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM limits WHERE credits_alert IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    FOR v_alert IN
        SELECT l.organization_id, l.credits_alert, o.currency, remaining.credits, remaining.credits < l.credits_alert AS low
        FROM limits AS l
        JOIN organizations AS o ON o.id = l.organization_id
        LEFT JOIN credit_alerts AS a ON a.organization_id = l.organization_id
        CROSS JOIN LATERAL (SELECT coalesce(sum(g.remaining), 0) FROM grants AS g
                            WHERE g.organization_id = l.organization_id AND g.currency = o.currency
                              AND g.remaining > 0 AND g.voided_at IS NULL) AS remaining (credits)
        WHERE l.credits_alert IS NOT NULL AND l.organization_id IN (SELECT organization_id FROM moved)
          AND (remaining.credits < l.credits_alert) <> coalesce(a.low, false)
        ORDER BY l.organization_id
    LOOP
        IF NOT v_alert.low THEN
            UPDATE credit_alerts SET low = false WHERE organization_id = v_alert.organization_id;
            CONTINUE;
        END IF;
        INSERT INTO credit_alerts AS a (organization_id, low, times) VALUES (v_alert.organization_id, true, 1)
        ON CONFLICT ON CONSTRAINT credit_alerts_pkey DO UPDATE SET low = true, times = a.times + 1 WHERE NOT a.low
        RETURNING a.times INTO v_told;
        IF v_told IS NOT NULL THEN
            PERFORM emit_event(
                v_alert.organization_id,
                derived_id(v_alert.organization_id, 'event:credits.low:' || v_told),
                'credits.low',
                jsonb_build_object('credits_alert', trim_scale(v_alert.credits_alert)::text,
                                   'credits', trim_scale(v_alert.credits)::text, 'currency', v_alert.currency),
                clock_timestamp());
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER grants_given AFTER INSERT ON grants
    REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION tell_of_low_credits();
CREATE TRIGGER grants_moved AFTER UPDATE ON grants
    REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION tell_of_low_credits();

-- Records a batch of calls that ended: call, attempts, samples of how endpoints did, transfers, limits, rollups, and the
-- hold released, in one transaction. A call that is already recorded changes nothing, so a settlement may be sent again
-- at any time; within one batch a call may stand only once. Answers which calls were recorded by this very settlement,
-- by how much each exceeded its hold, and the amount at which it is recorded: of a call that was recorded before, the
-- earlier one.
--
-- The commit does not wait for the disk, or every other call of the organizations would wait with it: whoever settles
-- calls `flush_settlements` in a transaction of its own, and has nothing recorded before that has returned.
--
-- Whoever listens is told, in the same transaction, of limits that come near and of what has no price.
CREATE OR REPLACE FUNCTION settle(p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz)
    RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric, recorded_amount numeric) LANGUAGE plpgsql AS
$$
DECLARE
    c_none CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    c_tokens_max CONSTANT numeric := 1000000000;  -- of one call, for a speed that every figure can bear
    v_counters counters[];
    v_near counters[];
    v_new uuid[];
    v_unpriced boolean;
    v_credited uuid[];
    v_credits numeric[];
    v_released holds[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);

    SELECT array_agg(c) INTO v_counters
    FROM lock_counters(ARRAY (SELECT (q.organization_id, q.project_id, q.key_id)::caller FROM unnest(p_calls) AS q),
                       p_now) AS c;

    SELECT coalesce(array_agg(q.call_id), '{}'), coalesce(bool_or(q.status = 'unpriced'), false)
    INTO v_new, v_unpriced
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

    -- Nearly always no limit is near, and then this is all that it costs.
    IF EXISTS (SELECT FROM limits WHERE alert_percent IS NOT NULL) THEN
        SELECT array_agg(c) INTO v_near
        FROM unnest(v_counters) AS locked
        JOIN limits AS l ON l.organization_id = locked.organization_id AND l.scope_id = locked.scope_id
                        AND l.alert_percent IS NOT NULL
        JOIN counters AS c ON c.organization_id = locked.organization_id AND c.scope_id = locked.scope_id
        WHERE c.total_used * 100 >= l.total * l.alert_percent OR c.day_used * 100 >= l.daily * l.alert_percent
           OR c.week_used * 100 >= l.weekly * l.alert_percent OR c.month_used * 100 >= l.monthly * l.alert_percent;
    END IF;
    IF v_near IS NOT NULL THEN
        PERFORM tell_of_limits(v_near, p_now);
    END IF;
    IF v_unpriced THEN
        PERFORM tell_of_unpriced(ARRAY (SELECT q FROM unnest(p_calls) AS q
                                        WHERE q.status = 'unpriced' AND q.call_id = ANY (v_new)), p_charges, p_now);
    END IF;

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
