-- Metering made lean: what it does stays as it was, and how changes. Every statement has a cost of its own, so there are
-- few; what belongs to a call is found by its place in the batch, and never by comparing every call with every other.
--
-- Arrays tell the planner nothing of their length, and the tables it estimates from are empty at first: it would read all
-- holds for one. So these functions say how: rows are looked up one by one by their key, or two arrays are hashed.

-- As before: inlined where it is used, which one that is declared immutable could not be, for convert_to() is not.
CREATE OR REPLACE FUNCTION derived_id(cause uuid, purpose text) RETURNS uuid LANGUAGE sql STABLE STRICT PARALLEL SAFE AS
$$
    -- The id of a row that follows from its cause; kit.ids.derived_id computes the same. Bits 52 to 55 are the version,
    -- 70 and 71 the variant.
    SELECT encode(
        set_bit(set_bit(set_bit(set_bit(set_bit(set_bit(
            substr(uuid_send(cause), 1, 6) || substr(sha256(uuid_send(cause) || convert_to(purpose, 'UTF8')), 1, 10),
            55, 0), 54, 1), 53, 1), 52, 1), 71, 1), 70, 0),
        'hex')::uuid
$$;

DROP FUNCTION settle(call_record[], charge_record[], attempt_record[], timestamptz);
DROP FUNCTION release_expired_holds(timestamptz, integer);
DROP FUNCTION admit(admission_request[], timestamptz, interval, uuid);
DROP FUNCTION move_counters(counters[], call_record[], holds[]);
DROP FUNCTION lock_counters(caller[], timestamptz);
DROP TYPE caller;
DROP FUNCTION ledger_charge_calls(ledger_charge[], timestamptz, text);
DROP FUNCTION ledger_charge_calls_of_one_time(ledger_charge[], timestamptz, text);

-- Charges calls to their organizations: grants first, in burn order, the rest to `unbilled`. A grant pays for the calls
-- accepted before it ends, however late they are charged: a call is paid by what it was admitted on, as long as what is
-- left of the grant has not been posted. The caller holds the organizations' locks, which also guard the grants. What
-- costs money and is no call is charged under a cause of its own, with its own id and time. Answers what each took from
-- grants, in the order of the charges.
CREATE FUNCTION ledger_charge_calls(p_charges ledger_charge[], p_posted_at timestamptz, p_cause text DEFAULT 'call')
    RETURNS numeric[] LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_credits numeric[] := array_fill(0::numeric, ARRAY [cardinality(p_charges)]);
    v_transfers transfers[] := '{}';
    v_charge record;
    v_due numeric;
    v_burned numeric;
    v_account text;
    -- Live grants, those of an organization and currency together, in burn order.
    v_organization_ids uuid[];
    v_currencies text[];
    v_grant_ids uuid[];
    v_ends timestamptz[];
    v_remaining numeric[];
    v_remaining_before numeric[];
    v_first_end timestamptz;
    v_first integer := 1;  -- of the organization and currency that is being charged, or of a later one
    v_at integer;
BEGIN
    SELECT array_agg(live.organization_id), array_agg(live.currency), array_agg(live.id), array_agg(live.ends_at),
           array_agg(live.remaining), min(live.ends_at)
    INTO v_organization_ids, v_currencies, v_grant_ids, v_ends, v_remaining, v_first_end
    FROM (SELECT g.organization_id, g.currency, g.id, g.ends_at, g.remaining
          FROM (SELECT DISTINCT organization_id, currency FROM unnest(p_charges) WHERE amount > 0) AS payer
          JOIN grants AS g ON g.organization_id = payer.organization_id AND g.currency = payer.currency
          WHERE g.remaining > 0
          ORDER BY g.organization_id, g.currency,
                   g.priority, g.expires_at NULLS LAST, g.category = 'paid', g.created_at, g.id) AS live;
    v_remaining_before := v_remaining;

    FOR v_charge IN
        SELECT c.* FROM unnest(p_charges) WITH ORDINALITY AS c
        WHERE c.amount > 0
        -- Those of an organization by the grants that had ended before them; nearly always that is none.
        ORDER BY c.organization_id, c.currency,
                 CASE WHEN v_first_end <= c.occurred_at
                      THEN (SELECT max(g.ends_at)
                            FROM unnest(v_organization_ids, v_currencies, v_ends) AS g (organization_id, currency, ends_at)
                            WHERE g.organization_id = c.organization_id AND g.currency = c.currency
                              AND g.ends_at <= c.occurred_at) END NULLS FIRST,
                 c.call_id
    LOOP
        v_due := v_charge.amount;
        v_at := v_first;
        WHILE v_due > 0 LOOP
            IF v_organization_ids[v_at] = v_charge.organization_id AND v_currencies[v_at] = v_charge.currency THEN
                v_burned := CASE WHEN v_ends[v_at] <= v_charge.occurred_at THEN 0
                                 ELSE least(v_due, v_remaining[v_at]) END;
                v_remaining[v_at] := v_remaining[v_at] - v_burned;
                v_account := 'credits:' || v_grant_ids[v_at];
            ELSIF v_organization_ids[v_at] < v_charge.organization_id
                  OR v_organization_ids[v_at] = v_charge.organization_id AND v_currencies[v_at] < v_charge.currency THEN
                v_burned := 0;
                v_first := v_at + 1;
            ELSE
                v_burned := v_due;
                v_account := 'unbilled';
            END IF;
            IF v_burned > 0 THEN
                v_transfers := v_transfers || (
                    v_charge.organization_id, derived_id(v_charge.call_id, 'charge:' || v_account), v_account, 'revenue',
                    v_burned, v_charge.currency, p_cause, v_charge.call_id, NULL, v_charge.occurred_at,
                    p_posted_at)::transfers;
                v_due := v_due - v_burned;
            END IF;
            v_at := v_at + 1;
        END LOOP;
        v_credits[v_charge.ordinality] := v_charge.amount - CASE v_account WHEN 'unbilled' THEN v_burned ELSE 0 END;
    END LOOP;

    IF cardinality(v_transfers) > 0 THEN
        INSERT INTO transfers SELECT t.* FROM unnest(v_transfers) AS t;

        INSERT INTO ledger_accounts AS held (organization_id, account, currency, debits, credits)
        SELECT t.organization_id, side.account, t.currency, sum(side.debits), sum(side.credits)
        FROM unnest(v_transfers) AS t
        CROSS JOIN LATERAL (VALUES (t.debit_account, t.amount, 0), (t.credit_account, 0, t.amount))
            AS side (account, debits, credits)
        GROUP BY t.organization_id, side.account, t.currency
        ON CONFLICT ON CONSTRAINT ledger_accounts_pkey DO UPDATE
            SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits;
    END IF;
    IF v_remaining <> v_remaining_before THEN
        UPDATE grants AS g SET remaining = burned.remaining
        FROM unnest(v_organization_ids, v_grant_ids, v_remaining, v_remaining_before)
            AS burned (organization_id, id, remaining, remaining_before)
        WHERE g.organization_id = burned.organization_id AND g.id = burned.id
          AND burned.remaining < burned.remaining_before;
    END IF;
    RETURN v_credits;
END
$$;

-- Counters in windows that p_now falls in: those that ended are emptied, and begin anew. All counters of an organization
-- move from window to window together, and a window that began later than p_now stays as it is: a clock that steps back
-- reopens nothing.
CREATE FUNCTION rolled_forward(p_counters counters[], p_now timestamptz) RETURNS counters[] LANGUAGE plpgsql STABLE
    SET plan_cache_mode = force_generic_plan AS
$$
BEGIN
    RETURN (
        WITH last AS MATERIALIZED (
            SELECT c.organization_id, o.timezone, max(c.day_start) AS day_start, max(c.week_start) AS week_start,
                   max(c.month_start) AS month_start, max(c.minute_start) AS minute_start
            FROM unnest(p_counters) AS c JOIN organizations AS o ON o.id = c.organization_id
            GROUP BY c.organization_id, o.timezone
        ), zones AS MATERIALIZED (
            SELECT zone.timezone, w.*
            FROM (SELECT DISTINCT timezone FROM last) AS zone CROSS JOIN LATERAL windows_at(p_now, zone.timezone) AS w
        )
        SELECT array_agg((
                   c.organization_id, c.scope_id, c.total_used, c.total_held,
                   n.day_start,
                   CASE WHEN c.day_start < n.day_start THEN 0 ELSE c.day_used END,
                   CASE WHEN c.day_start < n.day_start THEN 0 ELSE c.day_held END,
                   n.week_start,
                   CASE WHEN c.week_start < n.week_start THEN 0 ELSE c.week_used END,
                   CASE WHEN c.week_start < n.week_start THEN 0 ELSE c.week_held END,
                   n.month_start,
                   CASE WHEN c.month_start < n.month_start THEN 0 ELSE c.month_used END,
                   CASE WHEN c.month_start < n.month_start THEN 0 ELSE c.month_held END,
                   n.minute_start,
                   CASE WHEN c.minute_start < n.minute_start THEN 0 ELSE c.minute_requests END,
                   CASE WHEN c.minute_start < n.minute_start THEN 0 ELSE c.minute_tokens END,
                   c.concurrent, c.invoice_cut)::counters
               ORDER BY c.organization_id, c.scope_id)
        FROM unnest(p_counters) AS c
        JOIN (SELECT k.organization_id,
                     greatest(k.day_start, w.day_start) AS day_start,
                     greatest(k.week_start, w.week_start) AS week_start,
                     greatest(k.month_start, w.month_start) AS month_start,
                     greatest(k.minute_start, w.minute_start) AS minute_start
              FROM last AS k JOIN zones AS w ON w.timezone = k.timezone) AS n ON n.organization_id = c.organization_id);
END
$$;

-- Locks counters, making those that are missing, and answers them rolled forward to p_now; writing them back is the
-- caller's. They are given, and locked, in the one order: by organization and scope.
CREATE FUNCTION lock_counters(p_organization_ids uuid[], p_scope_ids uuid[], p_now timestamptz) RETURNS counters[]
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS
$$
DECLARE
    v_counters counters[];
    v_oldest timestamptz;
    v_newest timestamptz;
BEGIN
    LOOP
        -- One after the other, in the order of the arrays.
        SELECT array_agg(locked.counter), min((locked.counter).minute_start), max((locked.counter).minute_start)
        INTO v_counters, v_oldest, v_newest
        FROM unnest(p_organization_ids, p_scope_ids) AS wanted (organization_id, scope_id)
        CROSS JOIN LATERAL (SELECT c AS counter FROM counters AS c
                            WHERE c.organization_id = wanted.organization_id AND c.scope_id = wanted.scope_id
                            FOR UPDATE) AS locked;
        EXIT WHEN cardinality(v_counters) IS NOT DISTINCT FROM cardinality(p_scope_ids);

        INSERT INTO counters (organization_id, scope_id)
        SELECT wanted.organization_id, wanted.scope_id
        FROM unnest(p_organization_ids, p_scope_ids) AS wanted (organization_id, scope_id)
        ON CONFLICT DO NOTHING;
    END LOOP;

    -- Every window begins with a minute, so counters that have all come to this one have come to all their windows.
    IF v_oldest < greatest(v_newest, date_trunc('minute', p_now)) THEN
        RETURN rolled_forward(v_counters, p_now);
    END IF;
    RETURN v_counters;
END
$$;

-- Decides a batch of calls in order, all or nothing for each: a hold on the organization's balance and on every limit
-- of the organization, the project and the key, or a refusal that names the first bound that cannot carry it. A hold
-- is hold_most if everything can carry that, else what is left if that is at least hold_least. A request that only asks
-- is answered in the same way, and takes nothing.
--
-- A hold belongs to the process that makes its call, which renews its lease by the database's own clock.
--
-- The commit may be asynchronous: a hold lost with the database is no charge lost, settle charges with or without it.
CREATE FUNCTION admit(p_requests admission_request[], p_now timestamptz, p_lease interval, p_process_id uuid)
    RETURNS SETOF admission LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    c_windows CONSTANT text[] := ARRAY ['total', 'daily', 'weekly', 'monthly'];
    c_scopes CONSTANT text[] := ARRAY ['organization', 'project', 'key'];
    v_revision bigint;
    v_organization_ids uuid[];
    v_ids uuid[];           -- of the scopes
    v_counters counters[];  -- theirs, and likewise the next five
    v_limits limits[];
    v_balances numeric[];   -- of the organizations' rows: credits and credit limit, less what is spent, unpaid or held
    -- Of each counter, what the requests took that were admitted so far.
    v_held numeric[];
    v_requests bigint[];
    v_tokens bigint[];
    v_holds holds[] := '{}';
    v_answer admission;
    v_request record;
    v_positions integer[];
    v_at integer;
    v_counter counters;
    v_limit limits;
    v_caps numeric[];
    v_taken numeric[];
    v_room numeric;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT revision INTO v_revision FROM catalogue_revision;

    SELECT array_agg(organization_id), array_agg(scope_id) INTO v_organization_ids, v_ids
    FROM (SELECT DISTINCT q.organization_id, unnest(ARRAY [q.organization_id, q.project_id, q.key_id]) AS scope_id
          FROM unnest(p_requests) AS q ORDER BY 1, 2) AS scope
    WHERE scope_id IS NOT NULL;
    v_counters := lock_counters(v_organization_ids, v_ids, p_now);

    SELECT array_agg(CASE WHEN l.scope_id IS NOT NULL THEN l END ORDER BY c.ordinality),
           array_agg((SELECT coalesce(o.credit_limit, 'infinity') - c.total_held
                             + coalesce((SELECT sum(g.remaining) FROM grants AS g
                                         WHERE g.organization_id = o.id AND g.currency = o.currency
                                           AND g.remaining > 0
                                           AND g.voided_at IS NULL
                                           AND (g.expires_at IS NULL OR g.expires_at > p_now)), 0)
                             - coalesce((SELECT sum(a.debits - a.credits) FROM ledger_accounts AS a
                                         WHERE a.organization_id = o.id AND a.currency = o.currency
                                           AND a.account IN ('unbilled', 'receivable')), 0)
                      FROM organizations AS o
                      WHERE o.id = c.scope_id)
                     ORDER BY c.ordinality),
           array_agg(0), array_agg(0), array_agg(0)
    INTO v_limits, v_balances, v_held, v_requests, v_tokens
    FROM unnest(v_counters) WITH ORDINALITY AS c
    LEFT JOIN limits AS l ON l.organization_id = c.organization_id AND l.scope_id = c.scope_id;

    FOR v_request IN
        SELECT q.*, o.status AS organization_status, o.timezone, o.currency AS organization_currency,
               k.id IS NULL OR k.revoked_at IS NOT NULL OR k.disabled OR k.expires_at <= p_now AS key_is_void,
               p.archived_at IS NOT NULL AS project_is_archived
        FROM unnest(p_requests) WITH ORDINALITY AS q
        LEFT JOIN organizations AS o ON o.id = q.organization_id
        LEFT JOIN api_keys AS k ON k.organization_id = q.organization_id AND k.id = q.key_id
        LEFT JOIN projects AS p ON p.organization_id = q.organization_id AND p.id = q.project_id
        ORDER BY q.ordinality
    LOOP
        v_answer := (v_request.call_id, 'admitted', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        v_room := v_request.hold_most;
        v_positions := ARRAY [array_position(v_ids, v_request.organization_id),
                              CASE WHEN v_request.project_id IS NOT NULL
                                   THEN array_position(v_ids, v_request.project_id) END,
                              array_position(v_ids, v_request.key_id)];
        IF v_request.key_is_void THEN
            v_answer.outcome := 'key';
        ELSIF v_request.organization_status IS DISTINCT FROM 'active' THEN
            v_answer.outcome := 'organization';
        ELSIF v_request.project_is_archived THEN
            v_answer.outcome := 'project';
        ELSIF v_request.currency <> v_request.organization_currency THEN
            v_answer.outcome := 'currency';
        ELSIF v_request.revision <> v_revision THEN
            v_answer.outcome := 'stale';
        ELSIF v_request.hold_most > 0 THEN
            v_room := least(v_room, v_balances[v_positions[1]] - v_held[v_positions[1]]);
            IF v_room < v_request.hold_least THEN
                v_answer.outcome := 'balance';
                v_answer.amount := greatest(v_room, 0);
                v_answer.scope := 'organization';
            END IF;
        END IF;

        FOR v_scope IN 1..3 LOOP
            v_at := v_positions[v_scope];
            CONTINUE WHEN v_limits[v_at] IS NOT DISTINCT FROM NULL OR v_answer.outcome <> 'admitted';
            v_limit := v_limits[v_at];
            v_counter := v_counters[v_at];
            v_counter.minute_requests := v_counter.minute_requests + v_requests[v_at];
            v_counter.minute_tokens := v_counter.minute_tokens + v_tokens[v_at];
            v_counter.concurrent := v_counter.concurrent + v_requests[v_at];
            v_caps := ARRAY [v_limit.total, v_limit.daily, v_limit.weekly, v_limit.monthly];
            v_taken := ARRAY [v_counter.total_used + v_counter.total_held, v_counter.day_used + v_counter.day_held,
                              v_counter.week_used + v_counter.week_held, v_counter.month_used + v_counter.month_held];
            FOR v_window IN 1..4 LOOP
                CONTINUE WHEN v_caps[v_window] IS NULL OR v_request.hold_most = 0;
                v_room := least(v_room, v_caps[v_window] - v_taken[v_window] - v_held[v_at]);
                IF v_room < v_request.hold_least THEN
                    v_answer.outcome := c_windows[v_window];
                    v_answer.amount := greatest(v_room, 0);
                    v_answer.scope := c_scopes[v_scope];
                    v_answer.limit_amount := v_caps[v_window];
                    v_answer.resets_at := CASE v_window
                        WHEN 2 THEN following_window('day', v_counter.day_start, v_request.timezone)
                        WHEN 3 THEN following_window('week', v_counter.week_start, v_request.timezone)
                        WHEN 4 THEN following_window('month', v_counter.month_start, v_request.timezone)
                    END;
                    EXIT;
                END IF;
            END LOOP;
            CONTINUE WHEN v_answer.outcome <> 'admitted';
            IF v_counter.minute_requests + 1 > v_limit.rpm THEN
                v_answer.outcome := 'rpm';
                v_answer.amount := 0;
                v_answer.limit_amount := v_limit.rpm;
                v_answer.resets_at := v_counter.minute_start + interval '1 minute';
            ELSIF v_counter.minute_tokens + v_request.tokens > v_limit.tpm THEN
                v_answer.outcome := 'tpm';
                v_answer.amount := greatest(v_limit.tpm - v_counter.minute_tokens, 0);
                v_answer.limit_amount := v_limit.tpm;
                v_answer.resets_at := v_counter.minute_start + interval '1 minute';
            ELSIF v_counter.concurrent + 1 > v_limit.concurrency THEN
                v_answer.outcome := 'concurrency';
                v_answer.amount := 0;
                v_answer.limit_amount := v_limit.concurrency;
            END IF;
            IF v_answer.outcome <> 'admitted' THEN
                v_answer.scope := c_scopes[v_scope];
            END IF;
            -- Of several limits the caller is told the one of which least is left.
            IF v_limit.rpm - v_counter.minute_requests < coalesce(v_answer.requests_left, v_limit.rpm) + 1 THEN
                v_answer.requests_limit := v_limit.rpm;
                v_answer.requests_left := greatest(v_limit.rpm - v_counter.minute_requests, 0);
                v_answer.minute_end := v_counter.minute_start + interval '1 minute';
            END IF;
            IF v_limit.tpm - v_counter.minute_tokens < coalesce(v_answer.tokens_left, v_limit.tpm) + 1 THEN
                v_answer.tokens_limit := v_limit.tpm;
                v_answer.tokens_left := greatest(v_limit.tpm - v_counter.minute_tokens, 0);
                v_answer.minute_end := v_counter.minute_start + interval '1 minute';
            END IF;
        END LOOP;

        IF v_answer.outcome = 'admitted' THEN
            v_answer.amount := v_room;
        END IF;
        IF v_answer.outcome = 'admitted' AND NOT v_request.only_asks THEN
            v_answer.requests_left := v_answer.requests_left - 1;
            v_answer.tokens_left := v_answer.tokens_left - v_request.tokens;
            FOREACH v_at IN ARRAY v_positions LOOP
                CONTINUE WHEN v_at IS NULL;
                v_held[v_at] := v_held[v_at] + v_room;
                v_requests[v_at] := v_requests[v_at] + 1;
                v_tokens[v_at] := v_tokens[v_at] + v_request.tokens;
            END LOOP;
            v_counter := v_counters[v_positions[1]];
            v_holds := v_holds || (v_request.organization_id, v_request.call_id, v_request.project_id, v_request.key_id,
                                   v_room, v_request.tokens, v_counter.day_start, v_counter.week_start,
                                   v_counter.month_start, v_counter.minute_start, clock_timestamp() + p_lease,
                                   p_process_id, NULL)::holds;
        END IF;
        RETURN NEXT v_answer;
    END LOOP;

    IF cardinality(v_holds) > 0 THEN
        UPDATE counters AS c
        SET total_held = n.total_held + v_held[n.ordinality],
            day_start = n.day_start, day_used = n.day_used, day_held = n.day_held + v_held[n.ordinality],
            week_start = n.week_start, week_used = n.week_used, week_held = n.week_held + v_held[n.ordinality],
            month_start = n.month_start, month_used = n.month_used, month_held = n.month_held + v_held[n.ordinality],
            minute_start = n.minute_start, minute_requests = n.minute_requests + v_requests[n.ordinality],
            minute_tokens = n.minute_tokens + v_tokens[n.ordinality],
            concurrent = n.concurrent + v_requests[n.ordinality]
        FROM unnest(v_counters) WITH ORDINALITY AS n
        WHERE c.organization_id = n.organization_id AND c.scope_id = n.scope_id;
        INSERT INTO holds SELECT h.* FROM unnest(v_holds) AS h;
    END IF;
END
$$;

-- The holds of calls, each at the place of its call, and behind them the others. A call that held nothing gets one that
-- never was: it has no amount, and the windows that the call was accepted in.
CREATE FUNCTION holds_of(p_calls call_record[], p_holds holds[]) RETURNS holds[] LANGUAGE sql STABLE AS
$$
    SELECT coalesce(array_agg(CASE WHEN h.call_id IS NULL
                                   THEN (q.organization_id, q.call_id, q.project_id, q.key_id, NULL, 0, w.day_start,
                                         w.week_start, w.month_start, w.minute_start, NULL, NULL, NULL)::holds
                                   ELSE h END ORDER BY q.ordinality), '{}')
           || ARRAY (SELECT h FROM unnest(p_holds) AS h
                     WHERE NOT EXISTS (SELECT FROM unnest(p_calls) AS q WHERE q.call_id = h.call_id))
    FROM unnest(p_calls) WITH ORDINALITY AS q
    JOIN organizations AS o ON o.id = q.organization_id
    CROSS JOIN LATERAL windows_at(q.accepted_at, o.timezone) AS w
    LEFT JOIN unnest(p_holds) AS h ON h.call_id = q.call_id
$$;

-- What counters, as lock_counters answered them, come to with what calls used and with what released holds give back. A
-- window is used by the calls, and given back the holds, that were accepted in it: those of a window that is over
-- touch none that is open. Every call has its hold at its own place, if only one that never was, with no amount; behind
-- them may be holds without a call.
CREATE FUNCTION moved_counters(p_counters counters[], p_calls call_record[], p_holds holds[]) RETURNS counters[]
    LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_hashjoin = on SET enable_nestloop = off SET enable_sort = off AS
$$
BEGIN
    RETURN (
        SELECT array_agg((
                   n.organization_id, n.scope_id, n.total_used + t.used, n.total_held - t.held,
                   n.day_start, n.day_used + t.day_used, n.day_held - t.day_held,
                   n.week_start, n.week_used + t.week_used, n.week_held - t.week_held,
                   n.month_start, n.month_used + t.month_used, n.month_held - t.month_held,
                   n.minute_start, n.minute_requests, greatest(n.minute_tokens + t.minute_tokens, 0),
                   n.concurrent - t.ended, n.invoice_cut)::counters)
        FROM (SELECT e.organization_id, e.scope_id,
                     sum(e.used) AS used, sum(e.held) AS held, sum(e.ended) AS ended,
                     coalesce(sum(e.used) FILTER (WHERE e.day_start = o.day_start), 0) AS day_used,
                     coalesce(sum(e.held) FILTER (WHERE e.day_start = o.day_start), 0) AS day_held,
                     coalesce(sum(e.used) FILTER (WHERE e.week_start = o.week_start), 0) AS week_used,
                     coalesce(sum(e.held) FILTER (WHERE e.week_start = o.week_start), 0) AS week_held,
                     coalesce(sum(e.used) FILTER (WHERE e.month_start = o.month_start), 0) AS month_used,
                     coalesce(sum(e.held) FILTER (WHERE e.month_start = o.month_start), 0) AS month_held,
                     coalesce(sum(e.tokens) FILTER (WHERE e.minute_start = o.minute_start), 0) AS minute_tokens
              FROM (SELECT h.organization_id, unnest(ARRAY [h.organization_id, h.project_id, h.key_id]) AS scope_id,
                           coalesce((p_calls[h.ordinality]).amount, 0) AS used, coalesce(h.amount, 0) AS held,
                           (h.amount IS NOT NULL)::integer AS ended,
                           coalesce((p_calls[h.ordinality]).tokens, 0) - h.tokens AS tokens,
                           h.day_start, h.week_start, h.month_start, h.minute_start
                    FROM unnest(p_holds) WITH ORDINALITY AS h) AS e
              JOIN unnest(p_counters) AS o ON o.scope_id = e.organization_id
              WHERE e.scope_id IS NOT NULL
              GROUP BY e.organization_id, e.scope_id) AS t
        JOIN unnest(p_counters) AS n ON n.organization_id = t.organization_id AND n.scope_id = t.scope_id);
END
$$;

-- Writes counters.
CREATE FUNCTION write_counters(p_counters counters[]) RETURNS void LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
BEGIN
    UPDATE counters AS c
    SET total_used = n.total_used, total_held = n.total_held,
        day_start = n.day_start, day_used = n.day_used, day_held = n.day_held,
        week_start = n.week_start, week_used = n.week_used, week_held = n.week_held,
        month_start = n.month_start, month_used = n.month_used, month_held = n.month_held,
        minute_start = n.minute_start, minute_requests = n.minute_requests, minute_tokens = n.minute_tokens,
        concurrent = n.concurrent
    FROM unnest(p_counters) AS n
    WHERE c.organization_id = n.organization_id AND c.scope_id = n.scope_id;
END
$$;

-- Writes calls down, each with its hold and with what credits paid of it; answers for all of them as settle() does.
CREATE FUNCTION record_calls(
    p_calls call_record[], p_holds holds[], p_credits numeric[], p_counters counters[], p_now timestamptz
) RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric, recorded_amount numeric) LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_hashjoin = on SET enable_nestloop = off AS
$$
BEGIN
    RETURN QUERY
        INSERT INTO calls (organization_id, id, project_id, key_id, accepted_at, settled_at, requested_model, model,
                           provider, endpoint_id, api, streamed, status, estimated, anomalous, finish_reason,
                           native_finish_reason, latency_ms, generation_ms, quantities, price_version_id, tier, currency,
                           origin_amount, amount, credits_amount, overrun_amount, provider_cost, user_id, session_id,
                           metadata, invoice_cut, estimate)
        SELECT q.organization_id, q.call_id, q.project_id, q.key_id, q.accepted_at, p_now, q.requested_model, q.model,
               q.provider, q.endpoint_id, q.api, q.streamed, q.status, q.estimated, q.anomalous, q.finish_reason,
               q.native_finish_reason, q.latency_ms, q.generation_ms, q.quantities, q.price_version_id, q.tier,
               q.currency, q.origin_amount, q.amount, p_credits[q.ordinality],
               greatest(q.amount - coalesce((p_holds[q.ordinality]).amount, q.amount), 0), q.provider_cost, q.user_id,
               q.session_id, q.metadata, c.invoice_cut, q.estimate
        FROM unnest(p_calls) WITH ORDINALITY AS q
        JOIN unnest(p_counters) AS c ON c.scope_id = q.organization_id
        RETURNING id, true, overrun_amount, amount;
END
$$;

-- Adds calls to the rollups, each with its charges and with what credits paid of it.
CREATE FUNCTION roll_up(p_calls call_record[], p_charges charge_record[], p_credits numeric[], p_counters counters[])
    RETURNS void LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_hashjoin = on SET enable_nestloop = off SET enable_sort = off AS
$$
DECLARE
    c_none CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    INSERT INTO rollups AS r (organization_id, bucket, invoice_cut, project_id, key_id, model, provider,
                              price_version_id, tier, kind, unit, unit_price, calls, quantity, origin_amount, amount,
                              credits_amount)
    SELECT q.organization_id, date_bin('15 minutes', q.accepted_at, 'epoch'), c.invoice_cut,
           coalesce(q.project_id, c_none), q.key_id, q.model, q.provider,
           coalesce(CASE WHEN q.status <> 'insured' THEN q.price_version_id END, c_none), q.tier, i.kind,
           min(i.unit), min(i.unit_price),
           count(*) FILTER (WHERE i.kind = 'request'), sum(i.quantity), sum(i.origin_amount), sum(i.amount),
           coalesce(sum(p_credits[q.ordinality]) FILTER (WHERE i.kind = 'request'), 0)
    FROM unnest(p_calls) WITH ORDINALITY AS q
    JOIN unnest(p_charges) AS i ON i.call_id = q.call_id
    JOIN unnest(p_counters) AS c ON c.scope_id = q.organization_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    -- The organizations' locks guard them, so their order does not matter.
    ON CONFLICT ON CONSTRAINT rollups_pkey DO UPDATE
        SET calls = r.calls + excluded.calls, quantity = r.quantity + excluded.quantity,
            origin_amount = r.origin_amount + excluded.origin_amount, amount = r.amount + excluded.amount,
            credits_amount = r.credits_amount + excluded.credits_amount;
END
$$;

-- Leaves samples of the attempts that tell of their endpoint; docs/statistics.md says which those are. Nothing is locked or
-- looked up.
CREATE FUNCTION sample_endpoints(p_calls call_record[], p_attempts attempt_record[], p_now timestamptz)
    RETURNS void LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_hashjoin = on SET enable_nestloop = off SET enable_sort = off AS
$$
DECLARE
    c_tokens_max CONSTANT numeric := 1000000000;  -- of one call, for a speed that every figure can bear
BEGIN
    INSERT INTO endpoint_samples (endpoint_id, starts_at, settled_at, ok, failed, latencies_ms, throughputs)
    SELECT s.endpoint_id, timestamptz 'epoch' + s.grain * interval '5 minutes', p_now,
           count(*) FILTER (WHERE s.ok), count(*) FILTER (WHERE NOT s.ok),
           coalesce(array_agg(s.latency_ms) FILTER (WHERE s.latency_ms IS NOT NULL), '{}'),
           -- In thousandths of a token per second, half up.
           coalesce(array_agg((2000000 * s.tokens + s.generation_ms) / (2 * s.generation_ms)) FILTER (WHERE s.tokens > 0),
                    '{}')
    FROM (SELECT a.endpoint_id,
                 ('x' || translate(left(a.id::text, 13), '-', ''))::bit(48)::bigint / 300000 AS grain,
                 a.status = 'served' AND a.error IS NULL AND q.status <> 'insured' AS ok,
                 CASE WHEN a.status = 'served' AND q.streamed THEN a.latency_ms END AS latency_ms,
                 q.generation_ms,
                 CASE WHEN a.status = 'served' AND q.status = 'settled' AND NOT q.estimated AND q.generation_ms > 0
                      THEN least(coalesce((q.quantities ->> 'completion')::numeric, 0)
                                 + coalesce((q.quantities ->> 'internal_reasoning')::numeric, 0)
                                 + coalesce((q.quantities ->> 'output_audio')::numeric, 0)
                                 + coalesce((q.quantities ->> 'output_image')::numeric, 0), c_tokens_max)::bigint
                 END AS tokens
          FROM unnest(p_attempts) AS a
          JOIN unnest(p_calls) AS q ON q.call_id = a.call_id
          WHERE a.status = 'served'
             OR a.status = 'failed' AND coalesce(a.http_status, 0) NOT IN (400, 403, 404, 413, 422, 429)
                AND coalesce(a.error, '') NOT IN ('invalid_request', 'rate_limit')) AS s
    GROUP BY s.endpoint_id, s.grain;
END
$$;

-- Records a batch of calls that ended: call, attempts, samples of how endpoints did, transfers, limits, rollups, and the
-- hold released, in one transaction. A call that is already recorded changes nothing, so a settlement may be sent again
-- at any time; within one batch a call may stand only once. Answers for the calls only that exceeded their holds, by how
-- much they did, and for those that were recorded before, at which amount; of all the others there is nothing to say.
--
-- The commit does not wait for the disk, or every other call of the organizations would wait with it: whoever settles
-- calls `flush_settlements` in a transaction of its own, as `settle_and_flush` does, and has nothing recorded before that
-- has returned.
--
-- Whoever listens is told, in the same transaction, of limits that come near and of what has no price.
CREATE FUNCTION settle(p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz)
    RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric, recorded_amount numeric) LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_calls call_record[] := p_calls;  -- those that were not recorded before, and likewise the next two
    v_charges charge_record[] := p_charges;
    v_attempts attempt_record[] := p_attempts;
    v_before uuid[];
    v_organization_ids uuid[];
    v_scope_ids uuid[];
    v_counters counters[];
    v_near counters[];
    v_holds holds[];  -- one for each of v_calls, and then those of calls that were recorded before
    v_due ledger_charge[];
    v_credits numeric[];
    v_unpriced boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);

    SELECT array_agg(organization_id), array_agg(scope_id) INTO v_organization_ids, v_scope_ids
    FROM (SELECT DISTINCT q.organization_id, unnest(ARRAY [q.organization_id, q.project_id, q.key_id]) AS scope_id
          FROM unnest(p_calls) AS q ORDER BY 1, 2) AS scope
    WHERE scope_id IS NOT NULL;
    v_counters := lock_counters(v_organization_ids, v_scope_ids, p_now);

    WITH released AS (
        DELETE FROM holds AS h USING unnest(p_calls) WITH ORDINALITY AS q
        WHERE h.organization_id = q.organization_id AND h.call_id = q.call_id
        RETURNING h AS hold, q.ordinality
    )
    SELECT coalesce(array_agg(hold ORDER BY ordinality), '{}') INTO v_holds FROM released;

    SELECT array_agg(before.id) INTO v_before
    FROM unnest(p_calls) AS q
    CROSS JOIN LATERAL (SELECT c.id FROM calls AS c
                        WHERE c.organization_id = q.organization_id AND c.id = q.call_id OFFSET 0) AS before;
    IF v_before IS NOT NULL THEN
        v_calls := ARRAY (SELECT q FROM unnest(p_calls) AS q WHERE q.call_id <> ALL (v_before));
        v_charges := ARRAY (SELECT i FROM unnest(p_charges) AS i WHERE i.call_id <> ALL (v_before));
        v_attempts := ARRAY (SELECT a FROM unnest(p_attempts) AS a WHERE a.call_id <> ALL (v_before));
        RETURN QUERY
            SELECT q.call_id, false, 0::numeric,
                   (SELECT c.amount FROM calls AS c WHERE c.organization_id = q.organization_id AND c.id = q.call_id)
            FROM unnest(p_calls) AS q WHERE q.call_id = ANY (v_before);
    END IF;
    IF v_before IS NOT NULL OR cardinality(v_holds) < cardinality(v_calls) THEN
        v_holds := holds_of(v_calls, v_holds);
    END IF;

    SELECT coalesce(array_agg((q.organization_id, q.call_id, q.amount, q.currency, q.accepted_at)::ledger_charge), '{}'),
           bool_or(q.status = 'unpriced')
    INTO v_due, v_unpriced
    FROM unnest(v_calls) AS q;
    v_credits := ledger_charge_calls(v_due, p_now);

    RETURN QUERY SELECT r.* FROM record_calls(v_calls, v_holds, v_credits, v_counters, p_now) AS r WHERE r.overrun > 0;
    INSERT INTO attempts (organization_id, id, call_id, ordinal, endpoint_id, provider, status, http_status, error,
                          latency_ms, provider_cost, upstream_id, usage)
    SELECT a.* FROM unnest(v_attempts) AS a;
    PERFORM roll_up(v_calls, v_charges, v_credits, v_counters);
    PERFORM sample_endpoints(v_calls, v_attempts, p_now);

    v_counters := moved_counters(v_counters, v_calls, v_holds);
    PERFORM write_counters(v_counters);

    -- Nearly always no limit is near, and then this is all that it costs.
    IF EXISTS (SELECT FROM limits WHERE alert_percent IS NOT NULL) THEN
        SELECT array_agg(c) INTO v_near
        FROM unnest(v_counters) AS c
        JOIN limits AS l ON l.organization_id = c.organization_id AND l.scope_id = c.scope_id
                        AND l.alert_percent IS NOT NULL
        WHERE c.total_used * 100 >= l.total * l.alert_percent OR c.day_used * 100 >= l.daily * l.alert_percent
           OR c.week_used * 100 >= l.weekly * l.alert_percent OR c.month_used * 100 >= l.monthly * l.alert_percent;
    END IF;
    IF v_near IS NOT NULL THEN
        PERFORM tell_of_limits(v_near, p_now);
    END IF;
    IF v_unpriced THEN
        PERFORM tell_of_unpriced(ARRAY (SELECT q FROM unnest(v_calls) AS q WHERE q.status = 'unpriced'), v_charges, p_now);
    END IF;
END
$$;

CREATE TYPE settled AS (
    call_id         uuid,
    recorded        boolean,
    overrun         numeric(38, 12),
    recorded_amount numeric(38, 12)
);

-- Settles in one transaction and has it flushed in the next: one round trip instead of two. What it answers is on the disk.
CREATE PROCEDURE settle_and_flush(
    p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz,
    INOUT p_settled settled[] DEFAULT NULL
) LANGUAGE plpgsql AS
$$
BEGIN
    p_settled := ARRAY (SELECT (s.settled_call_id, s.recorded, s.overrun, s.recorded_amount)::settled
                        FROM settle(p_calls, p_charges, p_attempts, p_now) AS s);
    COMMIT;
    PERFORM flush_settlements();
END
$$;

-- Gives back what is held for calls whose lease is over and that left no checkpoint, at most p_most of them, oldest lease
-- first; answers how many. A settlement that arrives later still charges its call.
CREATE FUNCTION release_expired_holds(p_now timestamptz, p_most integer DEFAULT 1000) RETURNS integer LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_expired holds[];
    v_organization_ids uuid[];
    v_scope_ids uuid[];
    v_counters counters[];
    v_released holds[];
BEGIN
    SELECT coalesce(array_agg(expired::holds), '{}') INTO v_expired
    FROM (SELECT h.* FROM holds AS h WHERE h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
          ORDER BY h.lease_until LIMIT p_most) AS expired;

    SELECT array_agg(organization_id), array_agg(scope_id) INTO v_organization_ids, v_scope_ids
    FROM (SELECT DISTINCT h.organization_id, unnest(ARRAY [h.organization_id, h.project_id, h.key_id]) AS scope_id
          FROM unnest(v_expired) AS h ORDER BY 1, 2) AS scope
    WHERE scope_id IS NOT NULL;
    v_counters := lock_counters(v_organization_ids, v_scope_ids, p_now);

    -- Read again now that no one else can release them.
    WITH released AS (
        DELETE FROM holds AS h USING unnest(v_expired) AS expired
        WHERE h.organization_id = expired.organization_id AND h.call_id = expired.call_id
          AND h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
        RETURNING h AS hold
    )
    SELECT coalesce(array_agg(hold), '{}') INTO v_released FROM released;

    PERFORM write_counters(moved_counters(v_counters, '{}', v_released));
    RETURN cardinality(v_released);
END
$$;
