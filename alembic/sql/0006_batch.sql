-- Batches: what their money and their views need of Postgres itself.

SELECT set_config('relaycore.search_path', current_setting('search_path'), true);
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Books what requests cost whose lines were posted in this transaction, and frees what was held for them: all of what a
-- call held, and of what is held for many as much as an entry says is `freed` with it, or else cost. Once in a
-- transaction, after everything else in it.
CREATE OR REPLACE FUNCTION relaycore_settle(entries jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    postings relaycore_posting[];
    held uuid[]; shares numeric[];
    freed_ids uuid[]; freed_starts timestamptz[]; freed numeric[];
BEGIN
    PERFORM relaycore_begin_posting();
    SELECT array_agg((
        e.reservation_id, coalesce(relaycore_instant(e.booked_at), relaycore_instant(e.request_time)),
        coalesce(e.amount, 0), e.user_id, e.api_key_id, e.team_id, e.organization_id, e.provider, e.model,
        e.requested_model, e.tags)::relaycore_posting)
    INTO postings
    FROM jsonb_to_recordset(entries) AS e (
        request_time jsonb, reservation_id uuid, booked_at jsonb, amount numeric, user_id uuid, api_key_id uuid,
        team_id uuid, organization_id uuid, provider text, model text, requested_model text, tags text[]);
    SELECT array_agg(s.reservation_id), array_agg(s.share) INTO held, shares
    FROM (SELECT e.reservation_id, sum(coalesce(e.freed, e.amount, 0)) AS share
          FROM jsonb_to_recordset(entries) AS e (reservation_id uuid, amount numeric, freed numeric)
          WHERE e.reservation_id IS NOT NULL GROUP BY e.reservation_id) AS s;
    IF held IS NOT NULL THEN
        PERFORM FROM reservations WHERE id = ANY (held) ORDER BY id FOR UPDATE;
        SELECT array_agg(b.id), array_agg(b.start),
               array_agg(CASE r.kind WHEN 'call' THEN r.amount_usd
                                     ELSE least(r.amount_usd, greatest(0, h.share)) END)
        INTO freed_ids, freed_starts, freed
        FROM unnest(held, shares) AS h (id, share)
        JOIN reservations AS r ON r.id = h.id, unnest(r.budget_ids, r.period_starts) AS b (id, start);
        DELETE FROM reservations WHERE id = ANY (held) AND kind = 'call';
        UPDATE reservations AS r SET amount_usd = r.amount_usd - least(r.amount_usd, greatest(0, h.share))
        FROM unnest(held, shares) AS h (id, share) WHERE r.id = h.id AND r.kind = 'escrow';
    END IF;
    PERFORM relaycore_post(postings, freed_ids, freed_starts, freed);
END $$;

-- What became of each request of a batch, and what it cost and saved; for everybody's own SQL.
CREATE VIEW batch_items AS
SELECT r.batch_id, b.user_id, b.api_key_id, b.team_id, b.organization_id, r.position, r.custom_id, r.path,
       coalesce(s.provider, r.provider) AS provider, coalesce(s.model, r.model) AS model, r.state, s.outcome,
       s.status_code, s.code AS error_code, r.tries, r.rescues, r.attempt, coalesce(s.native, false) AS native,
       s.cache_status, s.cost_usd, s.saved_usd, s.request_id, b.created_at, s.finished_at
FROM batch_requests AS r
JOIN batches AS b ON b.id = r.batch_id
LEFT JOIN batch_results AS s ON s.batch_id = r.batch_id AND s.position = r.position;

SELECT set_config('search_path', current_setting('relaycore.search_path'), true);
