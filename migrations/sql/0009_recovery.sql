-- Holds belong to processes and say what to record if theirs dies; grants end when they are voided, too; and callers are
-- told how much of their rates is left.

ALTER TABLE holds ADD COLUMN process_id uuid;
ALTER TABLE holds ADD COLUMN checkpoint text;  -- the settlement of the call as far as it has come, as JSON
-- "What did this process hold when it died?"
CREATE INDEX holds_process ON holds (process_id);
-- Checkpoints come once a second: a change of one must stay a heap-only update.
ALTER TABLE holds SET (fillfactor = 50);

-- "What still has no price?" There should be nothing, so this costs next to nothing.
CREATE INDEX calls_unpriced ON calls (accepted_at) WHERE status = 'unpriced';

-- Which ledger this is, and when leases were last looked after. One row: whoever sweeps has its lock.
CREATE TABLE recovery (
    one       boolean NOT NULL DEFAULT true,
    ledger_id uuid NOT NULL DEFAULT gen_random_uuid(),
    swept_at  timestamptz NOT NULL,
    CONSTRAINT recovery_pkey PRIMARY KEY (one),
    CONSTRAINT recovery_is_one CHECK (one)
);
INSERT INTO recovery (swept_at) VALUES (clock_timestamp());

ALTER TYPE admission_request ADD ATTRIBUTE only_asks boolean;

ALTER TYPE admission ADD ATTRIBUTE requests_limit bigint;  -- per minute, of the scope that has least of it left
ALTER TYPE admission ADD ATTRIBUTE requests_left bigint;
ALTER TYPE admission ADD ATTRIBUTE tokens_limit bigint;
ALTER TYPE admission ADD ATTRIBUTE tokens_left bigint;
ALTER TYPE admission ADD ATTRIBUTE minute_end timestamptz;

DROP FUNCTION admit(admission_request[], timestamptz, interval);

-- Decides a batch of calls in order, all or nothing for each: a hold on the organization's balance and on every limit
-- of the organization, the project and the key, or a refusal that names the first bound that cannot carry it. A hold
-- is hold_most if everything can carry that, else what is left if that is at least hold_least. A request that only asks
-- is answered in the same way, and takes nothing.
--
-- A hold belongs to the process that makes its call, which renews its lease by the database's own clock.
--
-- The commit may be asynchronous: a hold lost with the database is no charge lost, settle charges with or without it.
CREATE FUNCTION admit(p_requests admission_request[], p_now timestamptz, p_lease interval, p_process_id uuid)
    RETURNS SETOF admission LANGUAGE plpgsql AS
$$
DECLARE
    c_windows CONSTANT text[] := ARRAY ['total', 'daily', 'weekly', 'monthly'];
    c_scopes CONSTANT text[] := ARRAY ['organization', 'project', 'key'];
    v_counters counters[];
    v_ids uuid[];
    v_limits limits[];
    v_balances numeric[];   -- of the organizations' rows: credits and credit limit, less what is spent and unpaid
    v_revision bigint;
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

    SELECT array_agg(c), array_agg(c.scope_id) INTO v_counters, v_ids
    FROM lock_counters(ARRAY (SELECT (q.organization_id, q.project_id, q.key_id)::caller FROM unnest(p_requests) AS q),
                       p_now) AS c;

    SELECT array_agg(l ORDER BY scope.position),
           array_agg((SELECT coalesce(o.credit_limit, 'infinity') + funds.credits - funds.owed
                      FROM organizations AS o,
                           LATERAL (SELECT coalesce((SELECT sum(g.remaining) FROM grants AS g
                                                     WHERE g.organization_id = o.id AND g.currency = o.currency
                                                       AND g.remaining > 0
                                                       AND g.voided_at IS NULL
                                                       AND (g.expires_at IS NULL OR g.expires_at > p_now)), 0),
                                           coalesce((SELECT sum(a.debits - a.credits) FROM ledger_accounts AS a
                                                     WHERE a.organization_id = o.id AND a.currency = o.currency
                                                       AND a.account IN ('unbilled', 'receivable')), 0)
                                   ) AS funds (credits, owed)
                      WHERE o.id = scope.id)
                     ORDER BY scope.position)
    INTO v_limits, v_balances
    FROM unnest(v_ids) WITH ORDINALITY AS scope (id, position)
    LEFT JOIN limits AS l ON l.organization_id = (v_counters[scope.position]).organization_id AND l.scope_id = scope.id;

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
                              array_position(v_ids, v_request.project_id),
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
            v_room := least(v_room, v_balances[v_positions[1]] - (v_counters[v_positions[1]]).total_held);
            IF v_room < v_request.hold_least THEN
                v_answer.outcome := 'balance';
                v_answer.amount := greatest(v_room, 0);
                v_answer.scope := 'organization';
            END IF;
        END IF;

        FOR v_scope IN 1..3 LOOP
            v_at := v_positions[v_scope];
            CONTINUE WHEN v_at IS NULL OR v_answer.outcome <> 'admitted';
            v_limit := v_limits[v_at];
            CONTINUE WHEN v_limit.scope_id IS NULL;
            v_counter := v_counters[v_at];
            v_caps := ARRAY [v_limit.total, v_limit.daily, v_limit.weekly, v_limit.monthly];
            v_taken := ARRAY [v_counter.total_used + v_counter.total_held, v_counter.day_used + v_counter.day_held,
                              v_counter.week_used + v_counter.week_held, v_counter.month_used + v_counter.month_held];
            FOR v_window IN 1..4 LOOP
                CONTINUE WHEN v_caps[v_window] IS NULL OR v_request.hold_most = 0;
                v_room := least(v_room, v_caps[v_window] - v_taken[v_window]);
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
                v_counter := v_counters[v_at];
                v_counter.total_held := v_counter.total_held + v_room;
                v_counter.day_held := v_counter.day_held + v_room;
                v_counter.week_held := v_counter.week_held + v_room;
                v_counter.month_held := v_counter.month_held + v_room;
                v_counter.minute_requests := v_counter.minute_requests + 1;
                v_counter.minute_tokens := v_counter.minute_tokens + v_request.tokens;
                v_counter.concurrent := v_counter.concurrent + 1;
                v_counters[v_at] := v_counter;
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
        SET total_held = n.total_held,
            day_start = n.day_start, day_used = n.day_used, day_held = n.day_held,
            week_start = n.week_start, week_used = n.week_used, week_held = n.week_held,
            month_start = n.month_start, month_used = n.month_used, month_held = n.month_held,
            minute_start = n.minute_start, minute_requests = n.minute_requests, minute_tokens = n.minute_tokens,
            concurrent = n.concurrent
        FROM unnest(v_counters) AS n
        WHERE c.organization_id = n.organization_id AND c.scope_id = n.scope_id;
        INSERT INTO holds SELECT * FROM unnest(v_holds);
    END IF;
END
$$;

-- Writes down what to record of calls under way if their process dies, and makes their leases last. Rows that are being
-- settled are left alone: whoever settles waits for nobody but other settlements.
CREATE FUNCTION checkpoint_holds(p_organization_ids uuid[], p_call_ids uuid[], p_checkpoints text[]) RETURNS void
    LANGUAGE sql AS
$$
    UPDATE holds AS h SET checkpoint = free.checkpoint
    FROM (SELECT k.organization_id, k.call_id, c.checkpoint
          FROM unnest(p_organization_ids, p_call_ids, p_checkpoints) AS c (organization_id, call_id, checkpoint)
          JOIN holds AS k ON k.organization_id = c.organization_id AND k.call_id = c.call_id
          FOR UPDATE OF k SKIP LOCKED) AS free
    WHERE h.organization_id = free.organization_id AND h.call_id = free.call_id
$$;

-- Looks after the leases of one process: those of the calls it knows last on, and those of which it knows nothing, though
-- they were taken longer ago than an admission takes, are over: their answers were lost on the way. Answers the time.
CREATE FUNCTION renew_leases(p_process_id uuid, p_known uuid[], p_unknown_after interval, p_lease interval)
    RETURNS timestamptz LANGUAGE sql AS
$$
    UPDATE holds AS h
    SET lease_until = CASE WHEN free.is_known THEN clock_timestamp() + p_lease ELSE '-infinity' END
    FROM (SELECT k.organization_id, k.call_id, k.call_id = ANY (p_known) AS is_known
          FROM holds AS k
          WHERE k.process_id = p_process_id AND k.lease_until > '-infinity'
            AND (k.call_id = ANY (p_known) AND k.lease_until < clock_timestamp() + p_lease / 2
                 OR k.call_id <> ALL (p_known) AND k.lease_until < clock_timestamp() + p_lease - p_unknown_after)
          FOR UPDATE SKIP LOCKED) AS free
    WHERE h.organization_id = free.organization_id AND h.call_id = free.call_id;

    SELECT clock_timestamp()
$$;

-- Hands what a dead process held to its heir: the calls of which it left word, for the heir to settle. The leases of the
-- others are over: no provider was asked for them.
CREATE FUNCTION inherit_holds(p_dead uuid, p_heir uuid, p_left uuid[], p_lease interval) RETURNS void LANGUAGE sql AS
$$
    UPDATE holds
    SET process_id = p_heir,
        lease_until = CASE WHEN call_id = ANY (p_left) THEN clock_timestamp() + p_lease ELSE '-infinity' END
    WHERE process_id = p_dead
$$;

-- Takes the turn to sweep, which lasts as long as the transaction; false if somebody else has it. After a time in which
-- nobody swept, nobody may have been able to renew a lease either: all of them begin anew, and that is all there is to do
-- in this turn. Whoever looks for leases that are over, looks from other connections, which must see that these are not.
CREATE FUNCTION begin_sweep(p_gap interval, p_lease interval) RETURNS boolean LANGUAGE plpgsql AS
$$
DECLARE
    v_swept_at timestamptz;
BEGIN
    SELECT swept_at INTO v_swept_at FROM recovery FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_swept_at < clock_timestamp() - p_gap THEN
        UPDATE holds AS h SET lease_until = clock_timestamp() + p_lease
        FROM (SELECT k.organization_id, k.call_id FROM holds AS k WHERE k.lease_until > '-infinity'
              FOR UPDATE SKIP LOCKED) AS free
        WHERE h.organization_id = free.organization_id AND h.call_id = free.call_id;
    END IF;
    UPDATE recovery SET swept_at = clock_timestamp();
    RETURN v_swept_at >= clock_timestamp() - p_gap;
END
$$;

-- Gives back what is held for calls whose lease is over and that left no checkpoint, at most p_most of them, oldest lease
-- first; answers how many. A settlement that arrives later still charges its call.
CREATE OR REPLACE FUNCTION release_expired_holds(p_now timestamptz, p_most integer DEFAULT 1000)
    RETURNS integer LANGUAGE plpgsql AS
$$
DECLARE
    v_expired holds[];
    v_counters counters[];
    v_released holds[];
BEGIN
    SELECT coalesce(array_agg(expired::holds), '{}') INTO v_expired
    FROM (SELECT h.* FROM holds AS h WHERE h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
          ORDER BY h.lease_until LIMIT p_most) AS expired;

    SELECT array_agg(c) INTO v_counters
    FROM lock_counters(ARRAY (SELECT (h.organization_id, h.project_id, h.key_id)::caller FROM unnest(v_expired) AS h),
                       p_now) AS c;

    -- Read again now that no one else can release them.
    WITH released AS (
        DELETE FROM holds AS h USING unnest(v_expired) AS expired
        WHERE h.organization_id = expired.organization_id AND h.call_id = expired.call_id
          AND h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
        RETURNING h.*
    )
    SELECT coalesce(array_agg(released::holds), '{}') INTO v_released FROM released;

    PERFORM move_counters(v_counters, '{}', v_released);
    RETURN cardinality(v_released);
END
$$;
