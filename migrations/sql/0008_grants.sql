-- Grants end: by their expiry, or because the operator voids them. From that instant nothing new is admitted on them; they
-- still pay for the calls accepted before it. Once all of those are settled, what is left is posted, and the grant is
-- closed. Granted = burned + unused + remaining, always; what was unused had expired or was voided.

ALTER TABLE grants
    ADD COLUMN reference   text,
    ADD COLUMN voided_at   timestamptz,
    ADD COLUMN voided_by   uuid,
    ADD COLUMN void_reason text,
    ADD COLUMN closed_at   timestamptz,
    ADD COLUMN unused      numeric(38, 12) NOT NULL DEFAULT 0,
    ADD CONSTRAINT grants_void_is_explained CHECK ((voided_at IS NULL) = (void_reason IS NULL)),
    ADD CONSTRAINT grants_unused_is_within CHECK (unused BETWEEN 0 AND amount - remaining),
    ADD CONSTRAINT grants_closed_is_empty CHECK (closed_at IS NULL OR remaining = 0);
ALTER TABLE grants
    ADD COLUMN ends_at timestamptz GENERATED ALWAYS AS (least(expires_at, voided_at)) STORED;
-- "Was this top-up credited already?"
CREATE UNIQUE INDEX grants_reference ON grants (organization_id, reference) WHERE reference IS NOT NULL;
-- "What ended and is not closed?" Burning changes nothing that is in it, so that stays a heap-only update.
CREATE INDEX grants_open_end ON grants (ends_at) WHERE closed_at IS NULL AND ends_at IS NOT NULL;

-- What the operator gives or takes: above zero in the customer's favour, which is a grant of the same id; below zero a
-- charge, which burns grants as a call would and goes to `unbilled` with the rest.
CREATE TABLE adjustments (
    organization_id uuid NOT NULL,
    id              uuid NOT NULL,
    amount          numeric(38, 12) NOT NULL,
    currency        text NOT NULL,
    reason          text NOT NULL,
    credits_amount  numeric(38, 12) NOT NULL,  -- of a charge: what grants paid
    invoice_cut     integer NOT NULL,
    created_at      timestamptz NOT NULL,
    created_by      uuid,
    CONSTRAINT adjustments_pkey PRIMARY KEY (organization_id, id),
    CONSTRAINT adjustments_amount_is_not_zero CHECK (amount <> 0),
    CONSTRAINT adjustments_credits_are_within CHECK (credits_amount BETWEEN 0 AND greatest(-amount, 0))
);
CREATE TRIGGER adjustments_are_append_only BEFORE UPDATE OR DELETE ON adjustments
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER adjustments_are_never_truncated BEFORE TRUNCATE ON adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DROP FUNCTION ledger_charge_calls(ledger_charge[], timestamptz);
DROP FUNCTION ledger_charge_calls_of_one_time(ledger_charge[], timestamptz);

-- Charges calls to their organizations, as ledger_charge_calls does, where no grant ends between any two calls of an
-- organization.
--
-- Calls of one organization and currency laid end to end, and its grants laid end to end, are two rulers of money;
-- where a call's stretch overlaps a grant's stretch, that grant pays for that much of that call.
CREATE FUNCTION ledger_charge_calls_of_one_time(p_charges ledger_charge[], p_posted_at timestamptz, p_cause text)
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
        WHERE g.remaining > 0 AND (g.ends_at IS NULL OR g.ends_at > payers.since)
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
               currency, p_cause, call_id, occurred_at, p_posted_at
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
-- accepted before it ends, however late they are charged: a call is paid by what it was admitted on, as long as what is
-- left of the grant has not been posted. The caller holds the organizations' locks, which also guard the grants. What
-- costs money and is no call is charged under a cause of its own, with its own id and time. Answers what each took from
-- grants.
CREATE FUNCTION ledger_charge_calls(p_charges ledger_charge[], p_posted_at timestamptz, p_cause text DEFAULT 'call')
    RETURNS TABLE (charged_call_id uuid, from_credits numeric) LANGUAGE plpgsql AS
$$
DECLARE
    v_charges ledger_charge[];
BEGIN
    -- Calls between which no grant of theirs ends can be charged at once; nearly always that is all of them.
    FOR v_charges IN
        SELECT array_agg(dated.charge)
        FROM (SELECT c::ledger_charge AS charge,
                     dense_rank() OVER (PARTITION BY c.organization_id, c.currency
                                        ORDER BY (SELECT max(g.ends_at) FROM grants AS g
                                                  WHERE g.organization_id = c.organization_id
                                                    AND g.currency = c.currency
                                                    AND g.remaining > 0 AND g.ends_at <= c.occurred_at) NULLS FIRST)
                         AS turn
              FROM unnest(p_charges) AS c) AS dated
        GROUP BY dated.turn ORDER BY dated.turn
    LOOP
        RETURN QUERY SELECT * FROM ledger_charge_calls_of_one_time(v_charges, p_posted_at, p_cause);
    END LOOP;
END
$$;

-- Takes the organization's lock, which guards its grants, its ledger accounts and its invoice cut, and answers the cut
-- that records belong to now. Who locks several organizations does so in the order of their ids.
CREATE FUNCTION lock_organization(p_organization_id uuid) RETURNS integer LANGUAGE plpgsql AS
$$
BEGIN
    INSERT INTO counters (organization_id, scope_id) VALUES (p_organization_id, p_organization_id)
    ON CONFLICT DO NOTHING;
    RETURN (SELECT c.invoice_cut FROM counters AS c
            WHERE c.organization_id = p_organization_id AND c.scope_id = p_organization_id
            FOR UPDATE);
END
$$;

-- Whether a call of the organization that was accepted before the instant is still under way. A call's id carries the
-- millisecond at which it was accepted; what was accepted in the instant's own millisecond counts as before.
CREATE FUNCTION is_held_since_before(p_organization_id uuid, p_at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS
$$
    SELECT EXISTS (SELECT FROM holds AS h
                   WHERE h.organization_id = p_organization_id
                     AND h.call_id < lowest_uuid7(p_at + interval '1 millisecond'))
$$;

-- Closes grants that ended and that no call under way may still burn, at most p_most of them, soonest end first, of one
-- organization or of all: what is left of an expired one becomes breakage, what is left of a voided one goes back to
-- where it came from. Answers how many were closed. Any process may do this, any number at once.
CREATE FUNCTION end_grants(p_now timestamptz, p_organization_id uuid DEFAULT NULL, p_most integer DEFAULT 100)
    RETURNS integer LANGUAGE plpgsql AS
$$
DECLARE
    v_organization_ids uuid[];
    v_grant_ids uuid[];
    v_organization_id uuid;
    v_grant grants;
    v_funding transfers;
    v_expired boolean;
    v_closed integer := 0;
BEGIN
    SELECT coalesce(array_agg(due.organization_id), '{}'), coalesce(array_agg(due.id), '{}')
    INTO v_organization_ids, v_grant_ids
    FROM (SELECT g.organization_id, g.id FROM grants AS g
          WHERE g.closed_at IS NULL AND g.ends_at <= p_now
            AND (p_organization_id IS NULL OR g.organization_id = p_organization_id)
            AND NOT is_held_since_before(g.organization_id, g.ends_at)
          ORDER BY g.ends_at LIMIT p_most) AS due;

    FOR v_organization_id IN SELECT DISTINCT owner FROM unnest(v_organization_ids) AS owner ORDER BY owner LOOP
        PERFORM lock_organization(v_organization_id);
    END LOOP;

    -- Read again now that no one else can close or burn them.
    FOR v_grant IN
        SELECT g.* FROM grants AS g
        JOIN unnest(v_organization_ids, v_grant_ids) AS due (organization_id, id)
            ON g.organization_id = due.organization_id AND g.id = due.id
        WHERE g.closed_at IS NULL AND g.ends_at <= p_now AND NOT is_held_since_before(g.organization_id, g.ends_at)
        ORDER BY g.organization_id, g.id
    LOOP
        IF v_grant.remaining > 0 THEN
            SELECT t.* INTO STRICT v_funding FROM transfers AS t
            WHERE t.organization_id = v_grant.organization_id AND t.id = derived_id(v_grant.id, 'grant');
            v_expired := coalesce(v_grant.expires_at <= v_grant.voided_at, v_grant.voided_at IS NULL);
            PERFORM ledger_post(
                v_grant.organization_id,
                derived_id(v_grant.id, CASE WHEN v_expired THEN 'expiry' ELSE 'void' END),
                'credits:' || v_grant.id,
                CASE WHEN v_expired THEN 'breakage' ELSE v_funding.debit_account END,
                v_grant.remaining,
                v_grant.currency,
                CASE WHEN v_expired THEN 'expiry' ELSE 'void' END,
                v_grant.id,
                CASE WHEN v_expired THEN NULL ELSE v_funding.id END,
                v_grant.ends_at,
                p_now);
        END IF;
        UPDATE grants AS g SET remaining = 0, unused = v_grant.remaining, closed_at = p_now
        WHERE g.organization_id = v_grant.organization_id AND g.id = v_grant.id;
        v_closed := v_closed + 1;
    END LOOP;
    RETURN v_closed;
END
$$;
