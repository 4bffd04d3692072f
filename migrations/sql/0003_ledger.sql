-- The ledger: append-only double entry. A transfer debits one account and credits another; balances are cached
-- rows written in the same transaction, and grants know what is left of them.

CREATE FUNCTION derived_id(cause uuid, purpose text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$
    -- The id of a row that follows from its cause; kit.ids.derived_id computes the same.
    SELECT encode(
        substr(uuid_send(cause), 1, 6)
        || set_byte(set_byte(digest, 0, 112 | (get_byte(digest, 0) & 15)), 2, 128 | (get_byte(digest, 2) & 63)),
        'hex')::uuid
    FROM (SELECT substr(sha256(uuid_send(cause) || convert_to(purpose, 'UTF8')), 1, 10) AS digest) AS hashed
$$;

CREATE TABLE transfers (
    organization_id uuid NOT NULL,
    id              uuid NOT NULL,
    debit_account   text NOT NULL,
    credit_account  text NOT NULL,
    amount          numeric(38, 12) NOT NULL,
    currency        text NOT NULL,
    cause           text NOT NULL,
    cause_id        uuid NOT NULL,
    reverses_id     uuid,
    occurred_at     timestamptz NOT NULL,
    posted_at       timestamptz NOT NULL,
    CONSTRAINT transfers_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT transfers_amount_is_positive CHECK (amount > 0),
    CONSTRAINT transfers_accounts_differ CHECK (debit_account <> credit_account)
);
-- "What did this call, grant or invoice post?"
CREATE INDEX transfers_cause ON transfers (organization_id, cause_id);
-- "What moved last?" Ids cannot tell: some carry the time of their cause, which may be years before.
CREATE INDEX transfers_posted ON transfers (organization_id, posted_at, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% is append-only: a mistake is corrected by a further row that names it', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER transfers_are_append_only BEFORE UPDATE OR DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_are_never_truncated BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE ledger_accounts (
    organization_id uuid NOT NULL,
    account         text NOT NULL,
    currency        text NOT NULL,
    debits          numeric(38, 12) NOT NULL,
    credits         numeric(38, 12) NOT NULL,
    CONSTRAINT ledger_accounts_pkey PRIMARY KEY (organization_id, account, currency)
) WITH (fillfactor = 70);  -- room on the page, so that a changed balance stays a heap-only update

CREATE TABLE grants (
    organization_id uuid NOT NULL,
    id              uuid NOT NULL,
    category        text NOT NULL,
    priority        integer NOT NULL,
    amount          numeric(38, 12) NOT NULL,
    remaining       numeric(38, 12) NOT NULL,
    currency        text NOT NULL,
    reason          text NOT NULL,
    expires_at      timestamptz,
    created_at      timestamptz NOT NULL,
    created_by      uuid,
    CONSTRAINT grants_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT grants_amount_is_positive CHECK (amount > 0),
    CONSTRAINT grants_remaining_is_within CHECK (remaining BETWEEN 0 AND amount),
    CONSTRAINT grants_category_is_known CHECK (category IN ('paid', 'promotional'))
) WITH (fillfactor = 70);

CREATE TYPE ledger_charge AS (
    organization_id uuid,
    call_id         uuid,
    amount          numeric(38, 12),
    currency        text,
    occurred_at     timestamptz
);

-- Posts one transfer and moves both cached balances. A transfer that is already there changes nothing.
CREATE FUNCTION ledger_post(
    p_organization_id uuid, p_id uuid, p_debit text, p_credit text, p_amount numeric, p_currency text,
    p_cause text, p_cause_id uuid, p_reverses_id uuid, p_occurred_at timestamptz, p_posted_at timestamptz
) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    INSERT INTO transfers (organization_id, id, debit_account, credit_account, amount, currency, cause, cause_id,
                           reverses_id, occurred_at, posted_at)
    VALUES (p_organization_id, p_id, p_debit, p_credit, p_amount, p_currency, p_cause, p_cause_id, p_reverses_id,
            p_occurred_at, p_posted_at)
    ON CONFLICT ON CONSTRAINT transfers_pkey DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO ledger_accounts AS held (organization_id, account, currency, debits, credits)
    SELECT p_organization_id, side.account, p_currency, side.debits, side.credits
    FROM (VALUES (p_debit, p_amount, 0), (p_credit, 0, p_amount)) AS side (account, debits, credits)
    ORDER BY side.account
    ON CONFLICT ON CONSTRAINT ledger_accounts_pkey DO UPDATE
        SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits;
    RETURN true;
END
$$;

-- Charges calls to their organizations, as ledger_charge_calls does, where no grant expires between any two calls of an
-- organization.
--
-- Calls of one organization and currency laid end to end, and its grants laid end to end, are two rulers of money;
-- where a call's stretch overlaps a grant's stretch, that grant pays for that much of that call.
CREATE FUNCTION ledger_charge_calls_of_one_time(p_charges ledger_charge[], p_posted_at timestamptz)
    RETURNS TABLE (charged_call_id uuid, from_credits numeric) LANGUAGE sql AS
$$
    WITH charges AS (
        SELECT c.*, sum(c.amount) OVER ruler - c.amount AS starts, sum(c.amount) OVER ruler AS ends
        FROM unnest(p_charges) AS c
        WHERE c.amount > 0
        WINDOW ruler AS (PARTITION BY c.organization_id, c.currency ORDER BY c.call_id)
    ), payers AS (
        SELECT organization_id, currency, min(occurred_at) AS since FROM charges GROUP BY organization_id, currency
    ), live AS (
        SELECT g.organization_id, g.currency, g.id,
               sum(g.remaining) OVER ruler - g.remaining AS starts, sum(g.remaining) OVER ruler AS ends
        FROM payers JOIN grants AS g USING (organization_id, currency)
        WHERE g.remaining > 0 AND (g.expires_at IS NULL OR g.expires_at > payers.since)
        WINDOW ruler AS (PARTITION BY g.organization_id, g.currency
                         ORDER BY g.priority, g.expires_at NULLS LAST, g.category = 'paid', g.created_at, g.id)
    ), burned AS (
        SELECT c.organization_id, c.call_id, c.currency, c.occurred_at, live.id AS grant_id,
               least(c.ends, live.ends) - greatest(c.starts, live.starts) AS amount
        FROM charges AS c JOIN live USING (organization_id, currency)
        WHERE live.starts < c.ends AND live.ends > c.starts
    ), credited AS (
        SELECT call_id, sum(amount) AS amount FROM burned GROUP BY call_id
    ), postings AS (
        SELECT organization_id, call_id, currency, occurred_at, 'credits:' || grant_id AS debit_account, amount
        FROM burned
        UNION ALL
        SELECT c.organization_id, c.call_id, c.currency, c.occurred_at, 'unbilled', c.amount - coalesce(credited.amount, 0)
        FROM charges AS c LEFT JOIN credited USING (call_id)
        WHERE c.amount > coalesce(credited.amount, 0)
    ), posted AS (
        INSERT INTO transfers (organization_id, id, debit_account, credit_account, amount, currency, cause, cause_id,
                               occurred_at, posted_at)
        SELECT organization_id, derived_id(call_id, 'charge:' || debit_account), debit_account, 'revenue', amount,
               currency, 'call', call_id, occurred_at, p_posted_at
        FROM postings
    ), spent AS (
        UPDATE grants AS g SET remaining = g.remaining - total.amount
        FROM (SELECT organization_id, grant_id, sum(amount) AS amount FROM burned GROUP BY 1, 2) AS total
        WHERE g.organization_id = total.organization_id AND g.id = total.grant_id
    ), moved AS (
        INSERT INTO ledger_accounts AS held (organization_id, account, currency, debits, credits)
        SELECT organization_id, account, currency, sum(debits), sum(credits)
        FROM (SELECT organization_id, debit_account AS account, currency, amount AS debits, 0 AS credits FROM postings
              UNION ALL
              SELECT organization_id, 'revenue', currency, 0, amount FROM postings) AS side
        GROUP BY organization_id, account, currency
        ORDER BY organization_id, account, currency
        ON CONFLICT ON CONSTRAINT ledger_accounts_pkey DO UPDATE
            SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits
    )
    SELECT call_id, amount FROM credited
$$;

-- Charges calls to their organizations: grants first, in burn order, the rest to `unbilled`. A grant pays for the calls
-- accepted before it expires, however late they are charged: a call is paid by what it was admitted on. The caller
-- holds the organizations' locks, which also guard the grants. Answers what each call took from grants.
CREATE FUNCTION ledger_charge_calls(p_charges ledger_charge[], p_posted_at timestamptz)
    RETURNS TABLE (charged_call_id uuid, from_credits numeric) LANGUAGE plpgsql AS
$$
DECLARE
    v_charges ledger_charge[];
BEGIN
    -- Calls between which no grant of theirs expires can be charged at once; nearly always that is all of them.
    FOR v_charges IN
        SELECT array_agg(dated.charge)
        FROM (SELECT c::ledger_charge AS charge,
                     dense_rank() OVER (PARTITION BY c.organization_id, c.currency
                                        ORDER BY (SELECT max(g.expires_at) FROM grants AS g
                                                  WHERE g.organization_id = c.organization_id
                                                    AND g.currency = c.currency
                                                    AND g.remaining > 0 AND g.expires_at <= c.occurred_at) NULLS FIRST)
                         AS turn
              FROM unnest(p_charges) AS c) AS dated
        GROUP BY dated.turn ORDER BY dated.turn
    LOOP
        RETURN QUERY SELECT * FROM ledger_charge_calls_of_one_time(v_charges, p_posted_at);
    END LOOP;
END
$$;
