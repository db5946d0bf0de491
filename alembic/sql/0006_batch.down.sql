-- Takes back 0006_batch.sql: settling frees what requests cost.

SELECT set_config('relaycore.search_path', current_setting('search_path'), true);
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

DROP VIEW batch_items;

-- Books what requests cost whose lines were posted in this transaction, and frees what was held for them. Once in a
-- transaction, after everything else in it.
CREATE OR REPLACE FUNCTION relaycore_settle(entries jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    postings relaycore_posting[];
    held uuid[]; costs numeric[];
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
    SELECT array_agg(p.reservation_id), array_agg(p.amount) INTO held, costs
    FROM (SELECT reservation_id, sum(amount) AS amount FROM unnest(postings)
          WHERE reservation_id IS NOT NULL GROUP BY reservation_id) AS p;
    IF held IS NOT NULL THEN
        PERFORM FROM reservations WHERE id = ANY (held) ORDER BY id FOR UPDATE;
        SELECT array_agg(b.id), array_agg(b.start),
               array_agg(CASE r.kind WHEN 'call' THEN r.amount_usd
                                     ELSE least(r.amount_usd, greatest(0, h.cost)) END)
        INTO freed_ids, freed_starts, freed
        FROM unnest(held, costs) AS h (id, cost)
        JOIN reservations AS r ON r.id = h.id, unnest(r.budget_ids, r.period_starts) AS b (id, start);
        DELETE FROM reservations WHERE id = ANY (held) AND kind = 'call';
        UPDATE reservations AS r SET amount_usd = r.amount_usd - least(r.amount_usd, greatest(0, h.cost))
        FROM unnest(held, costs) AS h (id, cost) WHERE r.id = h.id AND r.kind = 'escrow';
    END IF;
    PERFORM relaycore_post(postings, freed_ids, freed_starts, freed);
END $$;

SELECT set_config('search_path', current_setting('relaycore.search_path'), true);
