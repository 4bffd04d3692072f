-- Metering made leaner. To set up a statement costs more than to run it for a few rows, and aggregates most of all: so rows
-- are gathered by ARRAY (SELECT ...), found by their place in an array, and added up in loops that look at them anyway.

-- What costs money is charged as of when it was accepted, as call_record has it.
ALTER TYPE ledger_charge RENAME ATTRIBUTE occurred_at TO accepted_at;

DROP FUNCTION ledger_charge_calls(ledger_charge[], timestamptz, text);
DROP FUNCTION settle(call_record[], charge_record[], attempt_record[], timestamptz);
DROP FUNCTION roll_up(call_record[], charge_record[], numeric[], counters[]);
DROP FUNCTION record_calls(call_record[], holds[], numeric[], counters[], timestamptz);
DROP FUNCTION flush_settlements();
DROP FUNCTION write_counters(counters[]);
DROP FUNCTION moved_counters(counters[], call_record[], holds[]);
DROP FUNCTION lock_counters(uuid[], uuid[], timestamptz);

-- An organization has its counter from its beginning. It is the first of them to be locked, so whoever makes counters for
-- what is new in the organization holds that lock: two batches never wait for each other's new rows.
CREATE FUNCTION begin_counter() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    INSERT INTO counters (organization_id, scope_id) VALUES (NEW.id, NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER begin_counter AFTER INSERT ON organizations FOR EACH ROW EXECUTE FUNCTION begin_counter();
INSERT INTO counters (organization_id, scope_id) SELECT id, id FROM organizations ON CONFLICT DO NOTHING;

-- Locks the counters of whatever names an organization, a project and a key (requests, calls or holds), making those that
-- are missing, and answers them rolled forward to p_now; writing them back is the caller's. They are locked in the one
-- order: by organization, its own before those of what is in it, which go by their ids.
CREATE FUNCTION lock_counters(p_of anyarray, p_now timestamptz) RETURNS counters[] LANGUAGE plpgsql AS
$$
DECLARE
    v_counters counters[];
    v_counter counters;
    v_oldest timestamptz;
    v_newest timestamptz := date_trunc('minute', p_now);
BEGIN
    LOOP
        -- One after the other, in the order of the scopes.
        v_counters := ARRAY (
            SELECT locked.counter
            FROM (SELECT DISTINCT q.organization_id, unnest(ARRAY [1, 2, 2]) AS rank,
                         unnest(ARRAY [q.organization_id, q.project_id, q.key_id]) AS scope_id
                  FROM unnest(p_of) AS q ORDER BY 1, 2, 3) AS wanted
            LEFT JOIN LATERAL (SELECT c AS counter FROM counters AS c
                               WHERE c.organization_id = wanted.organization_id AND c.scope_id = wanted.scope_id
                               FOR UPDATE) AS locked ON true
            WHERE wanted.scope_id IS NOT NULL);
        EXIT WHEN array_position(v_counters, NULL) IS NULL;

        INSERT INTO counters (organization_id, scope_id)
        SELECT DISTINCT q.organization_id, scope_id
        FROM unnest(p_of) AS q CROSS JOIN LATERAL unnest(ARRAY [q.organization_id, q.project_id, q.key_id]) AS scope_id
        WHERE scope_id IS NOT NULL
        ORDER BY 1, 2
        ON CONFLICT DO NOTHING;
    END LOOP;

    -- Every window begins with a minute, so counters that have all come to this one have come to all their windows.
    FOREACH v_counter IN ARRAY v_counters LOOP
        v_oldest := least(v_oldest, v_counter.minute_start);
        v_newest := greatest(v_newest, v_counter.minute_start);
    END LOOP;
    IF v_oldest < v_newest THEN
        RETURN coalesce(rolled_forward(v_counters, p_now), '{}');  -- without those of organizations that are not there
    END IF;
    RETURN v_counters;
END
$$;

-- What a scope bears, as its counter is; null is no bound.
CREATE TYPE standing AS (
    bar           text,     -- why nobody may call
    currency      text,     -- of an organization, and likewise the next two
    timezone      text,
    balance       numeric,  -- credits and credit limit, less what is spent, unpaid or held
    limits        limits,
    room          numeric,  -- what the balance and every limit on money can carry
    slots         bigint,   -- calls that may begin
    requests_left bigint,
    tokens_left   bigint
);

-- Says which of the bounds of a request's organization, project and key, given in this order, is the first that cannot
-- carry it, and how much is left of their rates. A scope that the request has not, or that has no limits, is null.
CREATE FUNCTION refusal(
    p_request admission_request, p_limits limits[], p_counters counters[], p_room numeric, p_timezone text
) RETURNS admission LANGUAGE plpgsql STABLE AS
$$
DECLARE
    c_scopes CONSTANT text[] := ARRAY ['organization', 'project', 'key'];
    c_windows CONSTANT text[] := ARRAY ['total', 'daily', 'weekly', 'monthly'];
    v_answer admission;
    v_limit limits;
    v_counter counters;
    v_caps numeric[];
    v_left numeric;
BEGIN
    v_answer.call_id := p_request.call_id;
    IF p_request.hold_most > 0 AND p_room < p_request.hold_least THEN
        v_answer.outcome := 'balance';
        v_answer.amount := greatest(p_room, 0);
        v_answer.scope := 'organization';
        RETURN v_answer;
    END IF;
    FOR v_scope IN 1..3 LOOP
        CONTINUE WHEN p_limits[v_scope] IS NOT DISTINCT FROM NULL;
        v_limit := p_limits[v_scope];
        v_counter := p_counters[v_scope];
        v_answer.scope := c_scopes[v_scope];
        v_caps := ARRAY [v_limit.total, v_limit.daily, v_limit.weekly, v_limit.monthly];
        FOR v_window IN 1..4 LOOP
            v_left := v_caps[v_window] - CASE v_window WHEN 1 THEN v_counter.total_used + v_counter.total_held
                                                       WHEN 2 THEN v_counter.day_used + v_counter.day_held
                                                       WHEN 3 THEN v_counter.week_used + v_counter.week_held
                                                       WHEN 4 THEN v_counter.month_used + v_counter.month_held END;
            IF p_request.hold_most > 0 AND v_left < p_request.hold_least THEN
                v_answer.outcome := c_windows[v_window];
                v_answer.amount := greatest(v_left, 0);
                v_answer.limit_amount := v_caps[v_window];
                v_answer.resets_at := CASE v_window
                    WHEN 2 THEN following_window('day', v_counter.day_start, p_timezone)
                    WHEN 3 THEN following_window('week', v_counter.week_start, p_timezone)
                    WHEN 4 THEN following_window('month', v_counter.month_start, p_timezone)
                END;
                RETURN v_answer;
            END IF;
        END LOOP;
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
        v_answer.amount := 0;
        IF v_counter.minute_requests + 1 > v_limit.rpm THEN
            v_answer.outcome := 'rpm';
            v_answer.limit_amount := v_limit.rpm;
            v_answer.resets_at := v_counter.minute_start + interval '1 minute';
            RETURN v_answer;
        ELSIF v_counter.minute_tokens + p_request.tokens > v_limit.tpm THEN
            v_answer.outcome := 'tpm';
            v_answer.amount := greatest(v_limit.tpm - v_counter.minute_tokens, 0);
            v_answer.limit_amount := v_limit.tpm;
            v_answer.resets_at := v_counter.minute_start + interval '1 minute';
            RETURN v_answer;
        ELSIF v_counter.concurrent + 1 > v_limit.concurrency THEN
            v_answer.outcome := 'concurrency';
            v_answer.limit_amount := v_limit.concurrency;
            RETURN v_answer;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'call % was refused, and nothing refuses it', p_request.call_id;
END
$$;

-- A counter with what the batch took of it so far.
CREATE FUNCTION taken_from(p_counter counters, p_held numeric, p_requests bigint, p_tokens bigint) RETURNS counters
    LANGUAGE plpgsql IMMUTABLE AS
$$
BEGIN
    p_counter.total_held := p_counter.total_held + p_held;
    p_counter.day_held := p_counter.day_held + p_held;
    p_counter.week_held := p_counter.week_held + p_held;
    p_counter.month_held := p_counter.month_held + p_held;
    p_counter.minute_requests := p_counter.minute_requests + p_requests;
    p_counter.minute_tokens := p_counter.minute_tokens + p_tokens;
    p_counter.concurrent := p_counter.concurrent + p_requests;
    RETURN p_counter;
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
CREATE OR REPLACE FUNCTION admit(p_requests admission_request[], p_now timestamptz, p_lease interval, p_process_id uuid)
    RETURNS SETOF admission LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_settings text := set_config('synchronous_commit', 'off', true);
    v_counters counters[] := lock_counters(p_requests, p_now);
    v_revision bigint;
    v_standings standing[];  -- of the counters' scopes
    v_scope_ids uuid[] := '{}';
    -- Of each counter, what the requests took that were admitted so far:
    v_held numeric[] := array_fill(0::numeric, ARRAY [cardinality(v_counters)]);
    v_requests bigint[] := array_fill(0::bigint, ARRAY [cardinality(v_counters)]);
    v_tokens bigint[] := v_requests;
    -- Of each request: what it holds, and where its organization is.
    v_amounts numeric[] := array_fill(NULL::numeric, ARRAY [cardinality(p_requests)]);
    v_places integer[] := array_fill(NULL::integer, ARRAY [cardinality(p_requests)]);
    v_number integer := 0;
    v_counter counters;
    v_request admission_request;
    -- Of a request, where its scopes are, and what they bear:
    v_organization_at integer;
    v_project_at integer;
    v_key_at integer;
    v_organization standing;
    v_project standing;
    v_key standing;
    v_bar text;
    v_room numeric;
    v_least_requests bigint;
    v_least_tokens bigint;
    v_takes boolean := false;  -- whether any does
    v_answer admission;
BEGIN
    SELECT revision INTO v_revision FROM catalogue_revision;
    v_standings := ARRAY (
        SELECT (CASE WHEN c.scope_id = c.organization_id
                     THEN CASE WHEN o.status = 'active' THEN NULL ELSE 'organization' END
                     WHEN p.id IS NOT NULL THEN CASE WHEN p.archived_at IS NOT NULL THEN 'project' END
                     WHEN k.id IS NULL OR k.revoked_at IS NOT NULL OR k.disabled OR k.expires_at <= p_now
                     THEN 'key' END,
                o.currency, o.timezone, funds.balance,
                CASE WHEN l.scope_id IS NOT NULL THEN l END,
                least(funds.balance, l.total - c.total_used - c.total_held, l.daily - c.day_used - c.day_held,
                      l.weekly - c.week_used - c.week_held, l.monthly - c.month_used - c.month_held),
                least(l.rpm - c.minute_requests, l.concurrency - c.concurrent),
                l.rpm - c.minute_requests,
                l.tpm - c.minute_tokens)::standing
        FROM unnest(v_counters) WITH ORDINALITY AS c
        LEFT JOIN limits AS l ON l.organization_id = c.organization_id AND l.scope_id = c.scope_id
        LEFT JOIN projects AS p ON p.organization_id = c.organization_id AND p.id = c.scope_id
        LEFT JOIN api_keys AS k ON k.organization_id = c.organization_id AND k.id = c.scope_id
        LEFT JOIN organizations AS o ON o.id = c.scope_id
        LEFT JOIN LATERAL (SELECT coalesce(o.credit_limit, 'infinity') - c.total_held
                                  + coalesce((SELECT sum(g.remaining) FROM grants AS g
                                              WHERE g.organization_id = o.id AND g.currency = o.currency
                                                AND g.remaining > 0
                                                AND g.voided_at IS NULL
                                                AND (g.expires_at IS NULL OR g.expires_at > p_now)), 0)
                                  - coalesce((SELECT sum(a.debits - a.credits) FROM ledger_accounts AS a
                                              WHERE a.organization_id = o.id AND a.currency = o.currency
                                                AND a.account IN ('unbilled', 'receivable')), 0) AS balance
                           OFFSET 0) AS funds ON o.id IS NOT NULL
        ORDER BY c.ordinality);
    FOREACH v_counter IN ARRAY v_counters LOOP
        v_scope_ids := v_scope_ids || v_counter.scope_id;
    END LOOP;

    FOREACH v_request IN ARRAY p_requests LOOP
        v_number := v_number + 1;
        v_organization_at := array_position(v_scope_ids, v_request.organization_id);
        v_project_at := array_position(v_scope_ids, v_request.project_id);
        v_key_at := array_position(v_scope_ids, v_request.key_id);
        v_organization := v_standings[v_organization_at];
        v_project := v_standings[v_project_at];
        v_key := v_standings[v_key_at];
        v_bar := coalesce(v_key.bar, v_organization.bar, v_project.bar,
                          CASE WHEN v_organization.currency IS NULL THEN 'organization'
                               WHEN v_request.currency <> v_organization.currency THEN 'currency'
                               WHEN v_request.revision <> v_revision THEN 'stale' END);
        v_room := CASE WHEN v_request.hold_most > 0
                       THEN least(v_request.hold_most, v_organization.room - v_held[v_organization_at],
                                  v_project.room - v_held[v_project_at], v_key.room - v_held[v_key_at])
                       ELSE v_request.hold_most END;
        v_least_requests := least(v_organization.requests_left - v_requests[v_organization_at],
                                  v_project.requests_left - v_requests[v_project_at],
                                  v_key.requests_left - v_requests[v_key_at]);
        v_least_tokens := least(v_organization.tokens_left - v_tokens[v_organization_at],
                                v_project.tokens_left - v_tokens[v_project_at], v_key.tokens_left - v_tokens[v_key_at]);
        IF v_bar IS NOT NULL THEN
            v_answer := (v_request.call_id, v_bar, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::admission;
        ELSIF v_room < v_request.hold_least AND v_request.hold_most > 0
              OR v_least_tokens < v_request.tokens
              OR least(v_organization.slots - v_requests[v_organization_at],
                       v_project.slots - v_requests[v_project_at], v_key.slots - v_requests[v_key_at]) < 1 THEN
            v_answer := refusal(
                v_request, ARRAY [v_organization.limits, v_project.limits, v_key.limits],
                ARRAY (SELECT taken_from(v_counters[at], v_held[at], v_requests[at], v_tokens[at])
                       FROM unnest(ARRAY [v_organization_at, v_project_at, v_key_at]) AS at),
                least(v_request.hold_most, v_organization.balance - v_held[v_organization_at]),
                v_organization.timezone);
        ELSE
            -- Of several limits the caller is told the one of which least is left.
            v_answer := (
                v_request.call_id, 'admitted', v_room, NULL, NULL, NULL,
                CASE v_least_requests WHEN v_key.requests_left - v_requests[v_key_at] THEN (v_key.limits).rpm
                                      WHEN v_project.requests_left - v_requests[v_project_at] THEN (v_project.limits).rpm
                                      ELSE (v_organization.limits).rpm END,
                v_least_requests - (NOT v_request.only_asks)::integer,
                CASE v_least_tokens WHEN v_key.tokens_left - v_tokens[v_key_at] THEN (v_key.limits).tpm
                                    WHEN v_project.tokens_left - v_tokens[v_project_at] THEN (v_project.limits).tpm
                                    ELSE (v_organization.limits).tpm END,
                v_least_tokens - CASE WHEN v_request.only_asks THEN 0 ELSE v_request.tokens END,
                CASE WHEN coalesce(v_least_requests, v_least_tokens) IS NOT NULL
                     THEN (v_counters[v_organization_at]).minute_start + interval '1 minute' END)::admission;
            IF NOT v_request.only_asks THEN
                v_takes := true;
                v_amounts[v_number] := v_room;
                v_places[v_number] := v_organization_at;
                v_held[v_organization_at] := v_held[v_organization_at] + v_room;
                v_requests[v_organization_at] := v_requests[v_organization_at] + 1;
                v_tokens[v_organization_at] := v_tokens[v_organization_at] + v_request.tokens;
                v_held[v_key_at] := v_held[v_key_at] + v_room;
                v_requests[v_key_at] := v_requests[v_key_at] + 1;
                v_tokens[v_key_at] := v_tokens[v_key_at] + v_request.tokens;
                IF v_project_at IS NOT NULL THEN
                    v_held[v_project_at] := v_held[v_project_at] + v_room;
                    v_requests[v_project_at] := v_requests[v_project_at] + 1;
                    v_tokens[v_project_at] := v_tokens[v_project_at] + v_request.tokens;
                END IF;
            END IF;
        END IF;
        RETURN NEXT v_answer;
    END LOOP;

    IF v_takes THEN
        UPDATE counters AS c
        SET total_held = n.total_held + v_held[n.ordinality],
            day_start = n.day_start, day_used = n.day_used, day_held = n.day_held + v_held[n.ordinality],
            week_start = n.week_start, week_used = n.week_used, week_held = n.week_held + v_held[n.ordinality],
            month_start = n.month_start, month_used = n.month_used, month_held = n.month_held + v_held[n.ordinality],
            minute_start = n.minute_start, minute_requests = n.minute_requests + v_requests[n.ordinality],
            minute_tokens = n.minute_tokens + v_tokens[n.ordinality],
            concurrent = n.concurrent + v_requests[n.ordinality]
        FROM unnest(v_counters) WITH ORDINALITY AS n
        WHERE c.organization_id = n.organization_id AND c.scope_id = n.scope_id AND v_requests[n.ordinality] > 0;
        INSERT INTO holds (organization_id, call_id, project_id, key_id, amount, tokens, day_start, week_start, month_start,
                           minute_start, lease_until, process_id)
        SELECT q.organization_id, q.call_id, q.project_id, q.key_id, v_amounts[q.ordinality], q.tokens,
               (v_counters[v_places[q.ordinality]]).day_start, (v_counters[v_places[q.ordinality]]).week_start,
               (v_counters[v_places[q.ordinality]]).month_start, (v_counters[v_places[q.ordinality]]).minute_start,
               clock_timestamp() + p_lease, p_process_id
        FROM unnest(p_requests) WITH ORDINALITY AS q
        WHERE v_amounts[q.ordinality] IS NOT NULL;
    END IF;
END
$$;

-- Charges calls, or whatever else has an id, an organization, an amount and a time, to their organizations: grants first,
-- in burn order, the rest to `unbilled`. A grant pays for the calls accepted before it ends, however late they are
-- charged: a call is paid by what it was admitted on, as long as what is left of the grant has not been posted. The caller
-- holds the organizations' locks, which also guard the grants. What costs money and is no call is charged under a cause of
-- its own, with its own id and time. Answers what each took from grants, in the order of the charges.
CREATE FUNCTION ledger_charge_calls(p_charges anyarray, p_posted_at timestamptz, p_cause text DEFAULT 'call')
    RETURNS numeric[] LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_credits numeric[] := array_fill(0::numeric, ARRAY [cardinality(p_charges)]);
    v_transfers transfers[] := '{}';
    v_payers uuid[] := '{}';
    v_order bigint[] := ARRAY [1];  -- in which the charges are paid
    v_number bigint;
    v_charge record;
    v_due numeric;
    v_burned numeric;
    v_account text;
    v_grants grants[];  -- live ones, those of an organization and currency together, in burn order
    v_grant grants;
    v_remaining numeric[] := '{}';  -- of them
    v_first_end timestamptz;
    v_first integer := 1;  -- of the organization and currency that is being charged, or of a later one
    v_at integer;
BEGIN
    FOREACH v_charge IN ARRAY p_charges LOOP
        IF v_charge.amount > 0 AND v_charge.organization_id <> ALL (v_payers) THEN
            v_payers := v_payers || v_charge.organization_id;
        END IF;
    END LOOP;
    IF cardinality(v_payers) = 0 THEN
        RETURN v_credits;
    END IF;

    v_grants := ARRAY (
        SELECT g FROM grants AS g
        WHERE g.organization_id = ANY (v_payers) AND g.remaining > 0
        ORDER BY g.organization_id, g.currency,
                 g.priority, g.expires_at NULLS LAST, g.category = 'paid', g.created_at, g.id);
    FOREACH v_grant IN ARRAY v_grants LOOP
        v_remaining := v_remaining || v_grant.remaining;
        v_first_end := least(v_first_end, v_grant.ends_at);
    END LOOP;

    IF cardinality(p_charges) > 1 THEN
        -- Those of an organization by the grants that had ended before them; nearly always that is none.
        v_order := ARRAY (
            SELECT c.ordinality
            FROM unnest(p_charges) WITH ORDINALITY AS c
            ORDER BY c.organization_id, c.currency,
                     CASE WHEN v_first_end <= c.accepted_at
                          THEN (SELECT max(g.ends_at) FROM unnest(v_grants) AS g
                                WHERE g.organization_id = c.organization_id AND g.currency = c.currency
                                  AND g.ends_at <= c.accepted_at) END NULLS FIRST,
                     c.call_id);
    END IF;
    FOREACH v_number IN ARRAY v_order LOOP
        v_charge := p_charges[v_number];
        CONTINUE WHEN v_charge.amount <= 0;
        v_due := v_charge.amount;
        v_at := v_first;
        WHILE v_due > 0 LOOP
            v_grant := v_grants[v_at];
            IF v_grant.organization_id = v_charge.organization_id AND v_grant.currency = v_charge.currency THEN
                v_burned := CASE WHEN v_grant.ends_at <= v_charge.accepted_at THEN 0
                                 ELSE least(v_due, v_remaining[v_at]) END;
                v_remaining[v_at] := v_remaining[v_at] - v_burned;
                v_account := 'credits:' || v_grant.id;
            ELSIF (v_grant.organization_id, v_grant.currency) < (v_charge.organization_id, v_charge.currency) THEN
                v_burned := 0;
                v_first := v_at + 1;
            ELSE
                v_burned := v_due;
                v_account := 'unbilled';
            END IF;
            IF v_burned > 0 THEN
                v_transfers := v_transfers || (
                    v_charge.organization_id, derived_id(v_charge.call_id, 'charge:' || v_account), v_account, 'revenue',
                    v_burned, v_charge.currency, p_cause, v_charge.call_id, NULL, v_charge.accepted_at,
                    p_posted_at)::transfers;
                v_due := v_due - v_burned;
            END IF;
            v_at := v_at + 1;
        END LOOP;
        v_credits[v_number] := v_charge.amount - CASE v_account WHEN 'unbilled' THEN v_burned ELSE 0 END;
    END LOOP;

    INSERT INTO transfers SELECT t.* FROM unnest(v_transfers) AS t;

    INSERT INTO ledger_accounts AS held (organization_id, account, currency, debits, credits)
    SELECT side.organization_id, side.account, side.currency, sum(side.debits), sum(side.credits)
    FROM (SELECT t.organization_id, t.currency, unnest(ARRAY [t.debit_account, t.credit_account]) AS account,
                 unnest(ARRAY [t.amount, 0]) AS debits, unnest(ARRAY [0, t.amount]) AS credits
          FROM unnest(v_transfers) AS t) AS side
    GROUP BY side.organization_id, side.account, side.currency
    ON CONFLICT ON CONSTRAINT ledger_accounts_pkey DO UPDATE
        SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits;

    IF cardinality(v_grants) > 0 THEN
        UPDATE grants AS g SET remaining = v_remaining[before.ordinality]
        FROM unnest(v_grants) WITH ORDINALITY AS before
        WHERE g.organization_id = before.organization_id AND g.id = before.id
          AND v_remaining[before.ordinality] < before.remaining;
    END IF;
    RETURN v_credits;
END
$$;

-- Moves counters, as lock_counters answered them, by what calls used and what released holds give back. A window is used by
-- the calls, and given back the holds, that were accepted in it: those of a window that is over touch none that is open.
-- Every call has its hold at its own place, if only one that never was, with no amount; behind them may be holds without a
-- call.
CREATE FUNCTION move_counters(p_counters counters[], p_scope_ids uuid[], p_calls call_record[], p_holds holds[])
    RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
    v_used numeric[] := array_fill(0::numeric, ARRAY [cardinality(p_counters)]);
    v_held numeric[] := v_used;
    v_tokens bigint[] := array_fill(0::bigint, ARRAY [cardinality(p_counters)]);
    v_ended bigint[] := v_tokens;
    v_number integer := 0;
    v_hold holds;
    v_amount numeric;
    v_given_back numeric;
    v_more_tokens bigint;
    v_counter counters;
    v_at integer;
BEGIN
    IF cardinality(p_holds) = 0 THEN
        RETURN;
    END IF;
    FOREACH v_hold IN ARRAY p_holds LOOP
        v_number := v_number + 1;
        v_amount := coalesce((p_calls[v_number]).amount, 0);
        v_given_back := coalesce(v_hold.amount, 0);
        v_more_tokens := coalesce((p_calls[v_number]).tokens, 0) - v_hold.tokens;
        FOREACH v_at IN ARRAY ARRAY [array_position(p_scope_ids, v_hold.organization_id),
                                     array_position(p_scope_ids, v_hold.project_id),
                                     array_position(p_scope_ids, v_hold.key_id)] LOOP
            CONTINUE WHEN v_at IS NULL;
            v_used[v_at] := v_used[v_at] + v_amount;
            v_held[v_at] := v_held[v_at] + v_given_back;
            v_tokens[v_at] := v_tokens[v_at] + v_more_tokens;
            v_ended[v_at] := v_ended[v_at] + (v_hold.amount IS NOT NULL)::integer;
            -- All the windows are moved by the same sums, so what is of one that is over is taken out of it before.
            CONTINUE WHEN v_hold.minute_start = (p_counters[v_at]).minute_start;
            v_counter := p_counters[v_at];
            v_counter.minute_tokens := v_counter.minute_tokens - v_more_tokens;
            IF v_hold.day_start <> v_counter.day_start THEN
                v_counter.day_used := v_counter.day_used - v_amount;
                v_counter.day_held := v_counter.day_held + v_given_back;
            END IF;
            IF v_hold.week_start <> v_counter.week_start THEN
                v_counter.week_used := v_counter.week_used - v_amount;
                v_counter.week_held := v_counter.week_held + v_given_back;
            END IF;
            IF v_hold.month_start <> v_counter.month_start THEN
                v_counter.month_used := v_counter.month_used - v_amount;
                v_counter.month_held := v_counter.month_held + v_given_back;
            END IF;
            p_counters[v_at] := v_counter;
        END LOOP;
    END LOOP;

    UPDATE counters AS c
    SET total_used = n.total_used + v_used[n.ordinality], total_held = n.total_held - v_held[n.ordinality],
        day_start = n.day_start, day_used = n.day_used + v_used[n.ordinality],
        day_held = n.day_held - v_held[n.ordinality],
        week_start = n.week_start, week_used = n.week_used + v_used[n.ordinality],
        week_held = n.week_held - v_held[n.ordinality],
        month_start = n.month_start, month_used = n.month_used + v_used[n.ordinality],
        month_held = n.month_held - v_held[n.ordinality],
        minute_start = n.minute_start, minute_requests = n.minute_requests,
        minute_tokens = greatest(n.minute_tokens + v_tokens[n.ordinality], 0),
        concurrent = n.concurrent - v_ended[n.ordinality]
    FROM unnest(p_counters) WITH ORDINALITY AS n
    WHERE c.organization_id = n.organization_id AND c.scope_id = n.scope_id;
END
$$;

-- Adds calls to the rollups, each with its charges, what credits paid of it, and its cut.
CREATE FUNCTION roll_up(p_calls call_record[], p_charges charge_record[], p_credits numeric[], p_cuts integer[])
    RETURNS void LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_hashjoin = on SET enable_nestloop = off SET enable_sort = off AS
$$
DECLARE
    c_none CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    INSERT INTO rollups AS r (organization_id, bucket, invoice_cut, project_id, key_id, model, provider,
                              price_version_id, tier, kind, unit, unit_price, calls, quantity, origin_amount, amount,
                              credits_amount)
    SELECT q.organization_id, date_bin('15 minutes', q.accepted_at, 'epoch'), p_cuts[q.ordinality],
           coalesce(q.project_id, c_none), q.key_id, q.model, q.provider,
           coalesce(CASE WHEN q.status <> 'insured' THEN q.price_version_id END, c_none), q.tier, i.kind,
           min(i.unit), min(i.unit_price),
           count(*) FILTER (WHERE i.kind = 'request'), sum(i.quantity), sum(i.origin_amount), sum(i.amount),
           coalesce(sum(p_credits[q.ordinality]) FILTER (WHERE i.kind = 'request'), 0)
    FROM unnest(p_calls) WITH ORDINALITY AS q
    JOIN unnest(p_charges) AS i ON i.call_id = q.call_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    -- The organizations' locks guard them, so their order does not matter.
    ON CONFLICT ON CONSTRAINT rollups_pkey DO UPDATE
        SET calls = r.calls + excluded.calls, quantity = r.quantity + excluded.quantity,
            origin_amount = r.origin_amount + excluded.origin_amount, amount = r.amount + excluded.amount,
            credits_amount = r.credits_amount + excluded.credits_amount;
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
    RETURNS settled[] LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_settings text := set_config('synchronous_commit', 'off', true);
    v_counters counters[] := lock_counters(p_calls, p_now);
    v_scope_ids uuid[] := '{}';  -- of the counters
    v_calls call_record[] := p_calls;  -- those that were not recorded before, and likewise the next two
    v_charges charge_record[] := p_charges;
    v_attempts attempt_record[] := p_attempts;
    v_holds holds[];  -- one for each of v_calls, and then those of calls that were recorded before
    v_credits numeric[];
    v_overruns numeric[] := '{}';  -- of v_calls, and likewise the next
    v_cuts integer[] := '{}';
    v_settled settled[] := '{}';  -- what there is to say
    v_before uuid[];
    v_first_id uuid;
    v_last_id uuid;
    v_counter counters;
    v_call call_record;
    v_overrun numeric;
    v_unpriced boolean := false;
    v_near counters[];
BEGIN
    FOREACH v_call IN ARRAY p_calls LOOP
        v_first_id := least(v_first_id, v_call.call_id);
        v_last_id := greatest(v_last_id, v_call.call_id);
    END LOOP;
    WITH released AS (
        DELETE FROM holds AS h USING unnest(p_calls) WITH ORDINALITY AS q
        WHERE h.organization_id = q.organization_id AND h.call_id = q.call_id
        RETURNING h AS hold, q.ordinality
    )
    SELECT ARRAY (SELECT hold FROM released ORDER BY ordinality) INTO v_holds;

    v_before := ARRAY (
        SELECT before.id
        FROM unnest(p_calls) AS q
        CROSS JOIN LATERAL (SELECT c.id FROM calls AS c
                            WHERE c.organization_id = q.organization_id AND c.id = q.call_id
                              AND c.id BETWEEN v_first_id AND v_last_id  -- other months are not even looked at
                            OFFSET 0) AS before);
    IF cardinality(v_before) > 0 THEN
        v_calls := ARRAY (SELECT q FROM unnest(p_calls) AS q WHERE q.call_id <> ALL (v_before));
        v_charges := ARRAY (SELECT i FROM unnest(p_charges) AS i WHERE i.call_id <> ALL (v_before));
        v_attempts := ARRAY (SELECT a FROM unnest(p_attempts) AS a WHERE a.call_id <> ALL (v_before));
        v_settled := ARRAY (
            SELECT (q.call_id, false, 0,
                    (SELECT c.amount FROM calls AS c
                     WHERE c.organization_id = q.organization_id AND c.id = q.call_id))::settled
            FROM unnest(p_calls) AS q WHERE q.call_id = ANY (v_before));
    END IF;
    IF cardinality(v_before) > 0 OR cardinality(v_holds) < cardinality(v_calls) THEN
        v_holds := holds_of(v_calls, v_holds);
    END IF;

    FOREACH v_counter IN ARRAY v_counters LOOP
        v_scope_ids := v_scope_ids || v_counter.scope_id;
    END LOOP;
    FOREACH v_call IN ARRAY v_calls LOOP
        v_cuts := v_cuts || (v_counters[array_position(v_scope_ids, v_call.organization_id)]).invoice_cut;
        v_overrun := greatest(v_call.amount - coalesce((v_holds[cardinality(v_cuts)]).amount, v_call.amount), 0);
        v_overruns := v_overruns || v_overrun;
        IF v_overrun > 0 THEN
            v_settled := v_settled || (v_call.call_id, true, v_overrun, v_call.amount)::settled;
        END IF;
        v_unpriced := v_unpriced OR v_call.status = 'unpriced';
    END LOOP;
    v_credits := ledger_charge_calls(v_calls, p_now);
    INSERT INTO calls (organization_id, id, project_id, key_id, accepted_at, settled_at, requested_model, model, provider,
                       endpoint_id, api, streamed, status, estimated, anomalous, finish_reason, native_finish_reason,
                       latency_ms, generation_ms, quantities, price_version_id, tier, currency, origin_amount, amount,
                       credits_amount, overrun_amount, provider_cost, user_id, session_id, metadata, invoice_cut, estimate)
    SELECT q.organization_id, q.call_id, q.project_id, q.key_id, q.accepted_at, p_now, q.requested_model, q.model,
           q.provider, q.endpoint_id, q.api, q.streamed, q.status, q.estimated, q.anomalous, q.finish_reason,
           q.native_finish_reason, q.latency_ms, q.generation_ms, q.quantities, q.price_version_id, q.tier, q.currency,
           q.origin_amount, q.amount, v_credits[q.ordinality], v_overruns[q.ordinality], q.provider_cost, q.user_id,
           q.session_id, q.metadata, v_cuts[q.ordinality], q.estimate
    FROM unnest(v_calls) WITH ORDINALITY AS q;
    INSERT INTO attempts (organization_id, id, call_id, ordinal, endpoint_id, provider, status, http_status, error,
                          latency_ms, provider_cost, upstream_id, usage)
    SELECT a.* FROM unnest(v_attempts) AS a;
    PERFORM roll_up(v_calls, v_charges, v_credits, v_cuts);
    PERFORM sample_endpoints(v_calls, v_attempts, p_now);
    PERFORM move_counters(v_counters, v_scope_ids, v_calls, v_holds);

    -- Nearly always no limit is near, and then this is all that it costs.
    IF cardinality(v_calls) > 0 AND EXISTS (SELECT FROM limits WHERE alert_percent IS NOT NULL) THEN
        SELECT array_agg(c) INTO v_near
        FROM unnest(v_counters) AS wanted
        JOIN counters AS c ON c.organization_id = wanted.organization_id AND c.scope_id = wanted.scope_id
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
    RETURN v_settled;
END
$$;

-- Waits until everything that was committed before is on the disk: this transaction writes to the log, so its commit
-- takes along whatever the log has before it. Answers where in the log that is.
CREATE FUNCTION flush_settlements() RETURNS pg_lsn LANGUAGE plpgsql AS
$$
BEGIN
    RETURN pg_logical_emit_message(true, 'tollgate', '');
END
$$;

-- Settles in one transaction and has it flushed in the next: one round trip instead of two. What it answers is on the disk.
CREATE OR REPLACE PROCEDURE settle_and_flush(
    p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz,
    INOUT p_settled settled[] DEFAULT NULL
) LANGUAGE plpgsql AS
$$
DECLARE
    v_flushed pg_lsn;
BEGIN
    p_settled := settle(p_calls, p_charges, p_attempts, p_now);
    COMMIT;
    v_flushed := flush_settlements();
END
$$;

-- Gives back what is held for calls whose lease is over and that left no checkpoint, at most p_most of them, oldest lease
-- first; answers how many. A settlement that arrives later still charges its call.
CREATE OR REPLACE FUNCTION release_expired_holds(p_now timestamptz, p_most integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS
$$
DECLARE
    v_expired holds[] := ARRAY (SELECT h FROM holds AS h
                                WHERE h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
                                ORDER BY h.lease_until LIMIT p_most);
    v_counters counters[] := lock_counters(v_expired, p_now);
    v_released holds[];
BEGIN
    -- Read again now that no one else can release them.
    WITH released AS (
        DELETE FROM holds AS h USING unnest(v_expired) AS expired
        WHERE h.organization_id = expired.organization_id AND h.call_id = expired.call_id
          AND h.lease_until <= clock_timestamp() AND h.checkpoint IS NULL
        RETURNING h AS hold
    )
    SELECT ARRAY (SELECT hold FROM released) INTO v_released;

    PERFORM move_counters(v_counters, ARRAY (SELECT c.scope_id FROM unnest(v_counters) AS c), '{}', v_released);
    RETURN cardinality(v_released);
END
$$;
