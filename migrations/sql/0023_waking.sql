-- What triggers make due is work for a job (infra/jobs.py), which is asked for where the row is made.

-- As `enqueue_all()` asks. Who asks holds the subjects until the transaction ends, or a worker could begin before it sees
-- what was made due. Subjects are held in order, so that no two who ask wait for each other; a wish that waits is not
-- written again.
CREATE FUNCTION ask_for_jobs(p_job text, p_subjects text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pgqueuer (priority, entrypoint, dedupe_key, payload, status)
    SELECT 0, p_job, p_job || ':' || asked.subject, convert_to(asked.subject, 'UTF8'), 'queued'
    FROM (SELECT DISTINCT subject FROM unnest(p_subjects) AS subject ORDER BY subject) AS asked
    ORDER BY asked.subject
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
    DO UPDATE SET execute_after = excluded.execute_after WHERE pgqueuer.execute_after > excluded.execute_after
$$;

-- Invoices to look at: those that were issued, paid, voided or credited, and whatever else wakes them.
CREATE FUNCTION wake_collecting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ask_for_jobs('collect-invoices', woken.subjects)
    FROM (SELECT array_agg('org_' || organization_id || '/inv_' || invoice_id) FROM moved WHERE woken)
        AS woken (subjects)
    WHERE woken.subjects IS NOT NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER collections_made_wake AFTER INSERT ON collections
    REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION wake_collecting();
CREATE TRIGGER collections_woken_wake AFTER UPDATE ON collections
    REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION wake_collecting();

-- Events that somebody is to be told of. That is asked for as the transaction commits, so that nobody who holds counters
-- or the books waits for anybody else's event; a call that nobody is told of asks for nothing.
CREATE FUNCTION wake_webhooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM webhook_deliveries WHERE organization_id = NEW.organization_id AND event_id = NEW.id) THEN
        PERFORM ask_for_jobs('deliver-webhooks', ARRAY ['org_' || NEW.organization_id]);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER events_wake AFTER INSERT ON events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wake_webhooks();
