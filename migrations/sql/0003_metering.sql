-- Metering: what every call holds, uses and leaves behind. `admit` takes holds before a call is made, `settle`
-- records it afterwards; each is one round trip for a batch of calls, and each is one transaction.
--
-- Lock order, everywhere: rows of `counters` by (organization_id, scope_id), then everything else of those
-- organizations. The row whose scope is the organization itself is the organization's lock: it guards its grants,
-- its ledger accounts and its invoice cut.

CREATE TABLE counters (
    organization_id uuid NOT NULL,
    scope_id        uuid NOT NULL,  -- the organization, one of its projects, or one of its keys
    total_used      numeric(38, 12) NOT NULL DEFAULT 0,
    total_held      numeric(38, 12) NOT NULL DEFAULT 0,
    day_start       timestamptz NOT NULL DEFAULT '-infinity',
    day_used        numeric(38, 12) NOT NULL DEFAULT 0,
    day_held        numeric(38, 12) NOT NULL DEFAULT 0,
    week_start      timestamptz NOT NULL DEFAULT '-infinity',
    week_used       numeric(38, 12) NOT NULL DEFAULT 0,
    week_held       numeric(38, 12) NOT NULL DEFAULT 0,
    month_start     timestamptz NOT NULL DEFAULT '-infinity',
    month_used      numeric(38, 12) NOT NULL DEFAULT 0,
    month_held      numeric(38, 12) NOT NULL DEFAULT 0,
    minute_start    timestamptz NOT NULL DEFAULT '-infinity',
    minute_requests bigint NOT NULL DEFAULT 0,
    minute_tokens   bigint NOT NULL DEFAULT 0,
    concurrent      bigint NOT NULL DEFAULT 0,
    invoice_cut     integer NOT NULL DEFAULT 0,  -- of the organization's row: how many invoices have cut its records
    CONSTRAINT counters_pkey PRIMARY KEY (organization_id, scope_id)
) WITH (fillfactor = 50);  -- the hottest rows there are: every change must stay a heap-only update

CREATE TABLE holds (
    organization_id uuid NOT NULL,
    call_id         uuid NOT NULL,
    project_id      uuid,
    key_id          uuid NOT NULL,
    amount          numeric(38, 12) NOT NULL,
    tokens          bigint NOT NULL,
    day_start       timestamptz NOT NULL,
    week_start      timestamptz NOT NULL,
    month_start     timestamptz NOT NULL,
    minute_start    timestamptz NOT NULL,
    lease_until     timestamptz NOT NULL,
    CONSTRAINT holds_pkey PRIMARY KEY (organization_id, call_id)
);
-- "Whose lease ran out?"
CREATE INDEX holds_lease ON holds (lease_until);

CREATE TABLE calls (
    organization_id      uuid NOT NULL,
    id                   uuid NOT NULL,
    project_id           uuid,
    key_id               uuid NOT NULL,
    accepted_at          timestamptz NOT NULL,
    settled_at           timestamptz NOT NULL,
    requested_model      text NOT NULL,
    model                text NOT NULL,
    provider             text,
    endpoint_id          uuid,
    api                  text NOT NULL,
    streamed             boolean NOT NULL,
    status               text NOT NULL,
    estimated            boolean NOT NULL,
    anomalous            boolean NOT NULL,
    finish_reason        text,
    native_finish_reason text,
    latency_ms           integer,
    generation_ms        integer,
    quantities           jsonb NOT NULL,
    price_version_id     uuid,
    tier                 bigint NOT NULL,
    currency             text NOT NULL,
    origin_amount        numeric(38, 12) NOT NULL,
    amount               numeric(38, 12) NOT NULL,
    credits_amount       numeric(38, 12) NOT NULL,
    overrun_amount       numeric(38, 12) NOT NULL,
    provider_cost        numeric(38, 12),
    user_id              text,
    session_id           text,
    metadata             jsonb,
    invoice_cut          integer NOT NULL,
    CONSTRAINT calls_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT calls_status_is_known
        CHECK (status IN ('settled', 'cancelled', 'failed', 'insured', 'recovered', 'unpriced')),
    CONSTRAINT calls_amount_is_not_negative CHECK (amount >= 0)
) PARTITION BY RANGE (id);
-- "The newest calls of this key."
CREATE INDEX calls_key ON calls (organization_id, key_id, id);

CREATE TABLE attempts (
    organization_id uuid NOT NULL,
    id              uuid NOT NULL,
    call_id         uuid NOT NULL,
    ordinal         smallint NOT NULL,
    endpoint_id     uuid NOT NULL,
    provider        text NOT NULL,
    status          text NOT NULL,
    http_status     smallint,
    error           text,
    latency_ms      integer,
    provider_cost   numeric(38, 12),
    upstream_id     text,
    usage           jsonb,
    CONSTRAINT attempts_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT attempts_status_is_known CHECK (status IN ('served', 'failed', 'cancelled'))
) PARTITION BY RANGE (id);
-- "What was tried for this call?"
CREATE INDEX attempts_call ON attempts (organization_id, call_id);

-- The sums of the calls that a provider served, quarter-hour by quarter-hour: quantities and amounts of what was used,
-- free or not. What an insured call used was charged by no price; it stands at none, beside what has a price and is billed.
CREATE TABLE rollups (
    organization_id  uuid NOT NULL,
    bucket           timestamptz NOT NULL,  -- the start of the UTC quarter-hour in which the calls were accepted
    invoice_cut      integer NOT NULL,
    project_id       uuid NOT NULL,         -- all zeros for none
    key_id           uuid NOT NULL,
    model            text NOT NULL,
    provider         text NOT NULL,
    price_version_id uuid NOT NULL,         -- all zeros for none: the calls were insured
    tier             bigint NOT NULL,
    kind             text NOT NULL,
    unit             text,
    unit_price       numeric(38, 12),       -- null where the kind had no price
    calls            bigint NOT NULL,       -- in rows of kind `request` only, and likewise credits_amount
    quantity         numeric(38, 0) NOT NULL,
    origin_amount    numeric(38, 12) NOT NULL,
    amount           numeric(38, 12) NOT NULL,
    credits_amount   numeric(38, 12) NOT NULL,
    CONSTRAINT rollups_pkey PRIMARY KEY (organization_id, bucket, invoice_cut, project_id, key_id, model, provider,
                                         price_version_id, tier, kind)
) WITH (fillfactor = 70);
-- "What arrived after its time was invoiced?"
CREATE INDEX rollups_cut ON rollups (organization_id, invoice_cut, bucket);
-- "How much is this model used, by everyone?" No sums in it: adding to a rollup must stay a heap-only update.
CREATE INDEX rollups_model ON rollups (model, bucket);

-- Partitions: calls and attempts are cut by month of the UUIDv7 itself, so the key stays unique over all of them and
-- a month is detached, never deleted row by row. The default partitions catch what upkeep did not foresee.
CREATE TABLE calls_default PARTITION OF calls DEFAULT;
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

CREATE FUNCTION lowest_uuid7(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$
    SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

-- Makes the partitions of the UTC months from p_from on, and moves there what the default partitions had caught of
-- them; answers how many are new. Attaching a finished table locks far less than creating it in place.
CREATE FUNCTION ensure_partitions(p_from timestamptz, p_months integer) RETURNS integer LANGUAGE plpgsql AS
$$
DECLARE
    v_month timestamp;
    v_parent text;
    v_partition text;
    v_lowest uuid;
    v_following uuid;
    v_made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tollgate.ensure_partitions', 0));
    FOR v_month IN SELECT date_trunc('month', p_from AT TIME ZONE 'UTC') + n * interval '1 month'
                   FROM generate_series(0, p_months - 1) AS n LOOP
        FOREACH v_parent IN ARRAY ARRAY ['calls', 'attempts'] LOOP
            v_partition := format('%s_%s', v_parent, to_char(v_month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass(v_partition) IS NOT NULL;
            v_lowest := lowest_uuid7(v_month AT TIME ZONE 'UTC');
            v_following := lowest_uuid7((v_month + interval '1 month') AT TIME ZONE 'UTC');
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', v_parent || '_default');
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', v_partition, v_parent);
            EXECUTE format('WITH moved AS (DELETE FROM %I WHERE id >= %L AND id < %L RETURNING *)'
                           ' INSERT INTO %I SELECT * FROM moved',
                           v_parent || '_default', v_lowest, v_following, v_partition);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           v_parent, v_partition, v_lowest, v_following);
            v_made := v_made + 1;
        END LOOP;
    END LOOP;
    RETURN v_made;
END
$$;

-- The first instant of a local day. PostgreSQL reads a midnight that the clocks strike twice as the second one.
CREATE FUNCTION local_midnight(p_day timestamp, p_timezone text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS
$$
DECLARE
    v_midnight timestamptz := p_day AT TIME ZONE p_timezone;
    v_before timestamptz := v_midnight - interval '3 hours';
    v_first timestamptz := v_before + (p_day - (v_before AT TIME ZONE p_timezone));  -- as the clocks went before
BEGIN
    RETURN CASE WHEN (v_first AT TIME ZONE p_timezone)::date = p_day::date
                THEN least(v_first, v_midnight) ELSE v_midnight END;
END
$$;

CREATE TYPE windows AS (
    day_start    timestamptz,
    week_start   timestamptz,
    month_start  timestamptz,
    minute_start timestamptz
);

-- The windows that an instant falls in; kit.period computes the same. A day that has begun goes on when the clocks go
-- back over its midnight.
CREATE FUNCTION windows_at(p_at timestamptz, p_timezone text) RETURNS windows LANGUAGE plpgsql STABLE AS
$$
DECLARE
    v_day timestamp := date_trunc('day', p_at AT TIME ZONE p_timezone);
BEGIN
    IF local_midnight(v_day + interval '1 day', p_timezone) <= p_at THEN
        v_day := v_day + interval '1 day';
    END IF;
    RETURN (local_midnight(v_day, p_timezone),
            local_midnight(date_trunc('week', v_day), p_timezone),
            local_midnight(date_trunc('month', v_day), p_timezone),
            date_trunc('minute', p_at));
END
$$;

-- When the window after the one that began at p_start begins: p_unit is day, week or month.
CREATE FUNCTION following_window(p_unit text, p_start timestamptz, p_timezone text) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT AS
$$
    SELECT local_midnight(date_trunc(p_unit, p_start AT TIME ZONE p_timezone) + ('1 ' || p_unit)::interval, p_timezone)
$$;

-- Who makes a call: the three scopes whose counters it moves.
CREATE TYPE caller AS (
    organization_id uuid,
    project_id      uuid,
    key_id          uuid
);

-- Locks the callers' counters in the one order, making those that are missing, and answers them with their windows
-- rolled forward to p_now; writing them back is the caller's. All counters of an organization move from window to
-- window together, and a window that began later than p_now stays as it is: a clock that steps back reopens nothing.
CREATE FUNCTION lock_counters(p_callers caller[], p_now timestamptz) RETURNS SETOF counters LANGUAGE plpgsql ROWS 50 AS
$$
DECLARE
    v_organization_ids uuid[];
    v_scope_ids uuid[];
BEGIN
    SELECT array_agg(wanted.organization_id), array_agg(wanted.scope_id) INTO v_organization_ids, v_scope_ids
    FROM (SELECT DISTINCT q.organization_id, scope.id AS scope_id
          FROM unnest(p_callers) AS q
          CROSS JOIN LATERAL (VALUES (q.organization_id), (q.project_id), (q.key_id)) AS scope (id)
          WHERE scope.id IS NOT NULL) AS wanted;

    INSERT INTO counters (organization_id, scope_id)
    SELECT wanted.organization_id, wanted.scope_id
    FROM unnest(v_organization_ids, v_scope_ids) AS wanted (organization_id, scope_id)
    WHERE NOT EXISTS (SELECT FROM counters AS c
                      WHERE c.organization_id = wanted.organization_id AND c.scope_id = wanted.scope_id)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING;

    RETURN QUERY
        WITH locked AS MATERIALIZED (
            SELECT k.* FROM counters AS k
            WHERE (k.organization_id, k.scope_id) IN (SELECT * FROM unnest(v_organization_ids, v_scope_ids))
            ORDER BY k.organization_id, k.scope_id
            FOR UPDATE
        ), latest AS MATERIALIZED (
            SELECT k.organization_id,
                   greatest(k.day_start, w.day_start) AS day_start,
                   greatest(k.week_start, w.week_start) AS week_start,
                   greatest(k.month_start, w.month_start) AS month_start,
                   greatest(k.minute_start, w.minute_start) AS minute_start
            FROM (SELECT l.organization_id, max(l.day_start) AS day_start, max(l.week_start) AS week_start,
                         max(l.month_start) AS month_start, max(l.minute_start) AS minute_start
                  FROM locked AS l GROUP BY l.organization_id) AS k
            JOIN organizations AS o ON o.id = k.organization_id
            CROSS JOIN LATERAL windows_at(p_now, o.timezone) AS w
        )
        SELECT c.organization_id, c.scope_id, c.total_used, c.total_held,
               n.day_start,
               CASE WHEN c.day_start < n.day_start THEN 0::numeric(38, 12) ELSE c.day_used END,
               CASE WHEN c.day_start < n.day_start THEN 0::numeric(38, 12) ELSE c.day_held END,
               n.week_start,
               CASE WHEN c.week_start < n.week_start THEN 0::numeric(38, 12) ELSE c.week_used END,
               CASE WHEN c.week_start < n.week_start THEN 0::numeric(38, 12) ELSE c.week_held END,
               n.month_start,
               CASE WHEN c.month_start < n.month_start THEN 0::numeric(38, 12) ELSE c.month_used END,
               CASE WHEN c.month_start < n.month_start THEN 0::numeric(38, 12) ELSE c.month_held END,
               n.minute_start,
               CASE WHEN c.minute_start < n.minute_start THEN 0 ELSE c.minute_requests END,
               CASE WHEN c.minute_start < n.minute_start THEN 0 ELSE c.minute_tokens END,
               c.concurrent, c.invoice_cut
        FROM locked AS c JOIN latest AS n ON n.organization_id = c.organization_id
        ORDER BY c.organization_id, c.scope_id;
END
$$;

CREATE TYPE admission_request AS (
    organization_id uuid,
    call_id         uuid,
    project_id      uuid,
    key_id          uuid,
    hold_least      numeric(38, 12),  -- the prompt and the least output worth having
    hold_most       numeric(38, 12),  -- the worst case
    tokens          bigint,           -- what counts against tokens per minute until the call is settled
    currency        text,             -- of the prices the call was planned with
    revision        bigint            -- of the catalogue and prices the call was planned with
);

CREATE TYPE admission AS (
    call_id      uuid,
    outcome      text,                -- admitted, stale, or what refused: key, project, balance, daily, rpm …
    amount       numeric(38, 12),     -- what is held, or for a refusal what the bound still had
    scope        text,                -- of a refusal: organization, project or key
    limit_amount numeric(38, 12),     -- of a refusal: the bound's size
    resets_at    timestamptz          -- of a refusal: when the bound's window ends
);

-- Decides a batch of calls in order, all or nothing for each: a hold on the organization's balance and on every limit
-- of the organization, the project and the key, or a refusal that names the first bound that cannot carry it. A hold
-- is hold_most if everything can carry that, else what is left if that is at least hold_least.
--
-- The commit may be asynchronous: a hold lost with the database is no charge lost, settle charges with or without it.
CREATE FUNCTION admit(p_requests admission_request[], p_now timestamptz, p_lease interval)
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
        v_answer := (v_request.call_id, 'admitted', NULL, NULL, NULL, NULL);
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
                v_answer := (v_request.call_id, 'balance', greatest(v_room, 0), 'organization', NULL, NULL);
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
                    v_answer := (v_request.call_id, c_windows[v_window], greatest(v_room, 0), c_scopes[v_scope],
                                 v_caps[v_window],
                                 CASE v_window
                                     WHEN 2 THEN following_window('day', v_counter.day_start, v_request.timezone)
                                     WHEN 3 THEN following_window('week', v_counter.week_start, v_request.timezone)
                                     WHEN 4 THEN following_window('month', v_counter.month_start, v_request.timezone)
                                 END);
                    EXIT;
                END IF;
            END LOOP;
            CONTINUE WHEN v_answer.outcome <> 'admitted';
            IF v_counter.minute_requests + 1 > v_limit.rpm THEN
                v_answer := (v_request.call_id, 'rpm', 0, c_scopes[v_scope], v_limit.rpm,
                             v_counter.minute_start + interval '1 minute');
            ELSIF v_counter.minute_tokens + v_request.tokens > v_limit.tpm THEN
                v_answer := (v_request.call_id, 'tpm', greatest(v_limit.tpm - v_counter.minute_tokens, 0),
                             c_scopes[v_scope], v_limit.tpm, v_counter.minute_start + interval '1 minute');
            ELSIF v_counter.concurrent + 1 > v_limit.concurrency THEN
                v_answer := (v_request.call_id, 'concurrency', 0, c_scopes[v_scope], v_limit.concurrency, NULL);
            END IF;
        END LOOP;

        IF v_answer.outcome = 'admitted' THEN
            v_answer.amount := v_room;
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
                                   v_counter.month_start, v_counter.minute_start, p_now + p_lease)::holds;
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

CREATE TYPE call_record AS (
    organization_id      uuid,
    call_id              uuid,
    project_id           uuid,
    key_id               uuid,
    accepted_at          timestamptz,
    requested_model      text,
    model                text,
    provider             text,
    endpoint_id          uuid,
    api                  text,
    streamed             boolean,
    status               text,
    estimated            boolean,
    anomalous            boolean,
    finish_reason        text,
    native_finish_reason text,
    latency_ms           integer,
    generation_ms        integer,
    quantities           jsonb,
    tokens               bigint,
    price_version_id     uuid,
    tier                 bigint,
    currency             text,
    origin_amount        numeric(38, 12),
    amount               numeric(38, 12),
    provider_cost        numeric(38, 12),
    user_id              text,
    session_id           text,
    metadata             jsonb
);

CREATE TYPE charge_record AS (
    call_id       uuid,
    kind          text,
    unit          text,
    unit_price    numeric(38, 12),
    quantity      numeric(38, 0),
    origin_amount numeric(38, 12),
    amount        numeric(38, 12)
);

CREATE TYPE attempt_record AS (
    organization_id uuid,
    id              uuid,
    call_id         uuid,
    ordinal         smallint,
    endpoint_id     uuid,
    provider        text,
    status          text,
    http_status     smallint,
    error           text,
    latency_ms      integer,
    provider_cost   numeric(38, 12),
    upstream_id     text,
    usage           jsonb
);

-- Writes counters, as lock_counters answered them, with what calls used and with what released holds give back. A
-- window is used by the calls, and given back the holds, that were accepted in it: those of a window that is over
-- touch none that is open.
CREATE FUNCTION move_counters(p_counters counters[], p_calls call_record[], p_released holds[])
    RETURNS void LANGUAGE sql AS
$$
    UPDATE counters AS c
    SET total_used = t.total_used, total_held = t.total_held,
        day_start = t.day_start, day_used = t.day_used, day_held = t.day_held,
        week_start = t.week_start, week_used = t.week_used, week_held = t.week_held,
        month_start = t.month_start, month_used = t.month_used, month_held = t.month_held,
        minute_start = t.minute_start, minute_requests = t.minute_requests, minute_tokens = t.minute_tokens,
        concurrent = t.concurrent
    FROM (SELECT n.organization_id, n.scope_id,
                 n.total_used + sum(e.used) AS total_used, n.total_held - sum(e.held) AS total_held,
                 n.day_start,
                 n.day_used + coalesce(sum(e.used) FILTER (WHERE e.day_start = n.day_start), 0) AS day_used,
                 n.day_held - coalesce(sum(e.held) FILTER (WHERE e.day_start = n.day_start), 0) AS day_held,
                 n.week_start,
                 n.week_used + coalesce(sum(e.used) FILTER (WHERE e.week_start = n.week_start), 0) AS week_used,
                 n.week_held - coalesce(sum(e.held) FILTER (WHERE e.week_start = n.week_start), 0) AS week_held,
                 n.month_start,
                 n.month_used + coalesce(sum(e.used) FILTER (WHERE e.month_start = n.month_start), 0) AS month_used,
                 n.month_held - coalesce(sum(e.held) FILTER (WHERE e.month_start = n.month_start), 0) AS month_held,
                 n.minute_start, n.minute_requests,
                 greatest(n.minute_tokens
                          + coalesce(sum(e.tokens) FILTER (WHERE e.minute_start = n.minute_start), 0), 0)
                     AS minute_tokens,
                 n.concurrent - sum(e.ended) AS concurrent
          FROM (SELECT o.id AS organization_id, scope.id AS scope_id,
                       coalesce(q.amount, 0) AS used, coalesce(h.amount, 0) AS held,
                       (h.call_id IS NOT NULL)::integer AS ended,
                       -- Reckoned only for a call that held nothing: that is rare, and takes longer than the rest.
                       coalesce(h.day_start, (windows_at(q.accepted_at, o.timezone)).day_start) AS day_start,
                       coalesce(h.week_start, (windows_at(q.accepted_at, o.timezone)).week_start) AS week_start,
                       coalesce(h.month_start, (windows_at(q.accepted_at, o.timezone)).month_start) AS month_start,
                       coalesce(h.minute_start, (windows_at(q.accepted_at, o.timezone)).minute_start) AS minute_start,
                       coalesce(q.tokens, 0) - coalesce(h.tokens, 0) AS tokens
                FROM unnest(p_calls) AS q
                FULL JOIN unnest(p_released) AS h ON h.call_id = q.call_id
                JOIN organizations AS o ON o.id = coalesce(q.organization_id, h.organization_id)
                CROSS JOIN LATERAL (VALUES (o.id), (coalesce(q.project_id, h.project_id)),
                                           (coalesce(q.key_id, h.key_id))) AS scope (id)
                WHERE scope.id IS NOT NULL) AS e
          JOIN unnest(p_counters) AS n ON n.organization_id = e.organization_id AND n.scope_id = e.scope_id
          GROUP BY n.organization_id, n.scope_id, n.total_used, n.total_held, n.day_start, n.day_used, n.day_held,
                   n.week_start, n.week_used, n.week_held, n.month_start, n.month_used, n.month_held,
                   n.minute_start, n.minute_requests, n.minute_tokens, n.concurrent) AS t
    WHERE c.organization_id = t.organization_id AND c.scope_id = t.scope_id
$$;

-- Records a batch of calls that ended: call, attempts, transfers, limits, rollups, and the hold released, in one
-- transaction. A call that is already recorded changes nothing, so a settlement may be sent again at any time; within
-- one batch a call may stand only once. Answers which calls were recorded by this very settlement, and by how much each
-- exceeded its hold.
CREATE FUNCTION settle(p_calls call_record[], p_charges charge_record[], p_attempts attempt_record[], p_now timestamptz)
    RETURNS TABLE (settled_call_id uuid, recorded boolean, overrun numeric) LANGUAGE plpgsql AS
$$
DECLARE
    c_none CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    v_counters counters[];
    v_new uuid[];
    v_credited uuid[];
    v_credits numeric[];
    v_released holds[];
BEGIN
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
                       credits_amount, overrun_amount, provider_cost, user_id, session_id, metadata, invoice_cut)
    SELECT q.organization_id, q.call_id, q.project_id, q.key_id, q.accepted_at, p_now, q.requested_model, q.model,
           q.provider, q.endpoint_id, q.api, q.streamed, q.status, q.estimated, q.anomalous, q.finish_reason,
           q.native_finish_reason, q.latency_ms, q.generation_ms, q.quantities, q.price_version_id, q.tier, q.currency,
           q.origin_amount, q.amount, coalesce(paid.amount, 0), greatest(q.amount - coalesce(h.amount, q.amount), 0),
           q.provider_cost, q.user_id, q.session_id, q.metadata, c.invoice_cut
    FROM unnest(p_calls) AS q
    JOIN counters AS c ON c.organization_id = q.organization_id AND c.scope_id = q.organization_id
    LEFT JOIN unnest(v_released) AS h ON h.call_id = q.call_id
    LEFT JOIN unnest(v_credited, v_credits) AS paid (call_id, amount) ON paid.call_id = q.call_id
    WHERE q.call_id = ANY (v_new);

    INSERT INTO attempts (organization_id, id, call_id, ordinal, endpoint_id, provider, status, http_status, error,
                          latency_ms, provider_cost, upstream_id, usage)
    SELECT a.* FROM unnest(p_attempts) AS a
    WHERE a.call_id = ANY (v_new);

    PERFORM move_counters(v_counters, ARRAY (SELECT q FROM unnest(p_calls) AS q WHERE q.call_id = ANY (v_new)),
                          v_released);

    INSERT INTO rollups AS r (organization_id, bucket, invoice_cut, project_id, key_id, model, provider,
                              price_version_id, tier, kind, unit, unit_price, calls, quantity, origin_amount, amount,
                              credits_amount)
    SELECT q.organization_id, date_bin('15 minutes', q.accepted_at, 'epoch'), c.invoice_cut,
           coalesce(q.project_id, c_none), q.key_id, q.model, q.provider,
           CASE q.status WHEN 'insured' THEN c_none ELSE q.price_version_id END, q.tier, i.kind, min(i.unit), min(i.unit_price),
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
        SELECT q.call_id, q.call_id = ANY (v_new), greatest(q.amount - coalesce(h.amount, q.amount), 0)
        FROM unnest(p_calls) AS q LEFT JOIN unnest(v_released) AS h ON h.call_id = q.call_id;
END
$$;

-- Gives back what was held for calls that no one settled while their lease lasted, at most p_most of them, oldest lease
-- first; answers how many. A settlement that arrives later still charges its call.
CREATE FUNCTION release_expired_holds(p_now timestamptz, p_most integer DEFAULT 1000) RETURNS integer LANGUAGE plpgsql AS
$$
DECLARE
    v_expired holds[];
    v_counters counters[];
    v_released holds[];
BEGIN
    SELECT coalesce(array_agg(expired::holds), '{}') INTO v_expired
    FROM (SELECT h.* FROM holds AS h WHERE h.lease_until <= p_now ORDER BY h.lease_until LIMIT p_most) AS expired;

    SELECT array_agg(c) INTO v_counters
    FROM lock_counters(ARRAY (SELECT (h.organization_id, h.project_id, h.key_id)::caller FROM unnest(v_expired) AS h),
                       p_now) AS c;

    -- Read again now that no one else can release them.
    WITH released AS (
        DELETE FROM holds AS h USING unnest(v_expired) AS expired
        WHERE h.organization_id = expired.organization_id AND h.call_id = expired.call_id AND h.lease_until <= p_now
        RETURNING h.*
    )
    SELECT coalesce(array_agg(released::holds), '{}') INTO v_released FROM released;

    PERFORM move_counters(v_counters, '{}', v_released);
    RETURN cardinality(v_released);
END
$$;
