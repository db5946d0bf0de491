-- The ledger: partitions by month, lines that nobody changes, corrections, what dead processes leave, and the check.

SELECT set_config('relaycore.search_path', current_setting('search_path'), true);
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE FUNCTION relaycore_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = format('%s is appended to and never changed', TG_TABLE_NAME);
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION relaycore_refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION relaycore_refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_refuse_change();

-- Catches lines of months that have no partition.
CREATE TABLE ledger_pdefault PARTITION OF ledger DEFAULT;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON ledger_pdefault
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_refuse_change();

CREATE FUNCTION relaycore_ensure_ledger_partition(month date) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    named text := 'ledger_p' || to_char(month, 'YYYYMM');
BEGIN
    IF to_regclass(named) IS NOT NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF ledger FOR VALUES FROM (%L) TO (%L)', named,
                   month || ' 00:00+00', (month + interval '1 month')::date || ' 00:00+00');
    EXECUTE format('CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION relaycore_refuse_change()', named);
    RETURN 1;
EXCEPTION WHEN check_violation THEN
    RETURN 0; -- a wrong clock has put lines of that month into the default partition, where they stay
END $$;

-- Makes the monthly partitions (UTC) from last month to `ahead` months from now; says how many were missing.
CREATE FUNCTION relaycore_ensure_ledger_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    today timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month timestamp;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('relaycore_ledger_partitions'));
    FOR month IN
        SELECT generate_series(today - interval '1 month', today + make_interval(months => ahead), interval '1 month')
    LOOP
        made := made + relaycore_ensure_ledger_partition(month::date);
    END LOOP;
    RETURN made;
END $$;

-- The books begin with what was paid before there were any.
SELECT relaycore_ensure_ledger_partition(month::date)
FROM (SELECT DISTINCT date_trunc('month', request_time AT TIME ZONE 'UTC') AS month FROM requests
      WHERE estimated_cost > 0 AND request_time BETWEEN now() - interval '10 years' AND now()) AS months;
SELECT relaycore_ensure_ledger_partitions(3);

INSERT INTO ledger (
    request_id, request_time, entry, token_class, kind, booked_at, user_id, api_key_id, provider, model,
    requested_model, tags, quantity, usd_per_unit, amount_usd)
SELECT id, request_time, 0, 'total', 'usage', request_time, user_id, api_key_id, provider, model,
       requested_model, tags, 1, estimated_cost, estimated_cost
FROM requests WHERE estimated_cost > 0;

-- Partitions may be dropped. The month of the first one tells the check whether some were.
INSERT INTO installation (name, value)
SELECT 'ledger since', convert_to(min(right(relname, 6)), 'UTF8')
FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^ledger_p[0-9]{6}$' AND relkind = 'r';

-- Adds to the sums of the hours of some requests what they changed by (side by side), in the order of the key.
CREATE FUNCTION relaycore_correct_hours(
    changed requests[], new_requests bigint, costs numeric[], unknown bigint[], latencies float8[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage_hourly AS u (
        hour, user_id, api_key_id, team_id, organization_id, provider, model, endpoint, cache_status, status_code,
        requests, unknown_usage, estimated_cost, unknown_cost, latency_ms)
    SELECT date_trunc('hour', r.request_time AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', r.user_id, r.api_key_id,
           r.team_id, r.organization_id, r.provider, r.model, r.endpoint, r.cache_status, r.status_code,
           sum(new_requests), sum(new_requests), sum(costs[r.place]), sum(unknown[r.place]), sum(latencies[r.place])
    FROM (SELECT (changed[place]).*, place FROM generate_subscripts(changed, 1) AS place) AS r
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ON CONFLICT (hour, user_id, api_key_id, team_id, organization_id, provider, model, endpoint, cache_status,
                 status_code)
    DO UPDATE SET requests = u.requests + excluded.requests, unknown_usage = u.unknown_usage + excluded.unknown_usage,
                  estimated_cost = u.estimated_cost + excluded.estimated_cost,
                  unknown_cost = u.unknown_cost + excluded.unknown_cost,
                  latency_ms = u.latency_ms + excluded.latency_ms;
END $$;

-- Posts corrections: lines {request_id, request_time, token_class, quantity, usd_per_unit, factor, amount_usd}, as the
-- next entry of their request. Whom a line concerns and when it is booked is as in the first line of the request (one
-- of the same token class, if there is any), or as in its row of `requests`; a line with a key "booked_at" says all of
-- that itself. The request then costs the sum of its lines. Once in a transaction, after everything else in it.
CREATE FUNCTION relaycore_adjust(lines jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    postings relaycore_posting[];
    changed requests[];
    totals numeric[]; costs numeric[]; unknown bigint[];
BEGIN
    PERFORM relaycore_begin_posting(true);
    WITH said AS (
        SELECT w.value ? 'booked_at' AS whole, l.request_id, relaycore_instant(l.request_time) AS request_time,
               l.token_class, l.quantity, l.usd_per_unit, coalesce(l.factor, 1) AS factor, l.amount_usd,
               relaycore_instant(l.booked_at) AS booked_at, l.user_id, l.api_key_id, l.team_id, l.organization_id,
               l.provider, l.model, l.requested_model, l.tags,
               row_number() OVER (PARTITION BY l.request_id, relaycore_instant(l.request_time), l.token_class
                                  ORDER BY w.place) AS turn
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS w (value, place)
        CROSS JOIN LATERAL jsonb_to_record(w.value) AS l (
            request_id uuid, request_time jsonb, token_class text, quantity numeric, usd_per_unit numeric,
            factor numeric, amount_usd numeric, booked_at jsonb, user_id uuid, api_key_id uuid, team_id uuid,
            organization_id uuid, provider text, model text, requested_model text, tags text[])
    ), posted AS (
        INSERT INTO ledger (
            request_id, request_time, entry, token_class, kind, booked_at, user_id, api_key_id, team_id,
            organization_id, provider, model, requested_model, tags, quantity, usd_per_unit, factor, amount_usd)
        SELECT s.request_id, s.request_time, n.entry, s.token_class, 'adjustment', k.booked_at, k.user_id,
               k.api_key_id, k.team_id, k.organization_id, k.provider, k.model, k.requested_model, k.tags,
               s.quantity, s.usd_per_unit, s.factor, s.amount_usd
        FROM said AS s
        CROSS JOIN LATERAL (
            SELECT coalesce(max(l.entry), 0) + s.turn AS entry FROM ledger AS l
            WHERE l.request_id = s.request_id AND l.request_time = s.request_time) AS n
        CROSS JOIN LATERAL (
            SELECT * FROM (
                SELECT 0 AS rank, s.booked_at, s.user_id, s.api_key_id, s.team_id, s.organization_id, s.provider,
                       s.model, s.requested_model, s.tags
                WHERE s.whole
                UNION ALL
                SELECT CASE WHEN l.entry = 0 AND l.token_class = s.token_class THEN 1 ELSE 2 + l.entry END,
                       l.booked_at, l.user_id, l.api_key_id, l.team_id, l.organization_id, l.provider, l.model,
                       l.requested_model, l.tags
                FROM ledger AS l WHERE l.request_id = s.request_id AND l.request_time = s.request_time
                UNION ALL
                SELECT 100000, r.request_time, r.user_id, r.api_key_id, r.team_id, r.organization_id, r.provider,
                       r.model, r.requested_model, r.tags
                FROM requests AS r WHERE r.id = s.request_id AND r.request_time = s.request_time) AS known
            ORDER BY known.rank LIMIT 1) AS k
        RETURNING booked_at, amount_usd, user_id, api_key_id, team_id, organization_id, provider, model,
                  requested_model, tags
    )
    SELECT array_agg((
        NULL, p.booked_at, p.amount_usd, p.user_id, p.api_key_id, p.team_id, p.organization_id, p.provider, p.model,
        p.requested_model, p.tags)::relaycore_posting)
    INTO postings FROM posted AS p;
    IF coalesce(cardinality(postings), 0) <> jsonb_array_length(lines) THEN
        RAISE no_data_found USING MESSAGE = 'an adjustment is of a request that is neither in requests nor in the ledger';
    END IF;
    SELECT array_agg(s.one), array_agg(s.total), array_agg(s.total - coalesce((s.one).estimated_cost, 0)),
           array_agg(CASE WHEN (s.one).estimated_cost IS NULL THEN -1 ELSE 0 END)
    INTO changed, totals, costs, unknown
    FROM (
        SELECT r AS one, (SELECT sum(l.amount_usd) FROM ledger AS l
                          WHERE l.request_id = r.id AND l.request_time = r.request_time) AS total
        FROM (SELECT DISTINCT a.request_id, relaycore_instant(a.request_time) AS request_time
              FROM jsonb_to_recordset(lines) AS a (request_id uuid, request_time jsonb)) AS a
        JOIN requests AS r ON r.id = a.request_id AND r.request_time = a.request_time) AS s;
    UPDATE requests AS r SET estimated_cost = s.total
    FROM unnest(totals) WITH ORDINALITY AS s (total, place)
    WHERE r.id = (changed[s.place]).id AND r.request_time = (changed[s.place]).request_time;
    PERFORM relaycore_correct_hours(changed, 0, costs, unknown, array_fill(0::float8, ARRAY[coalesce(cardinality(totals), 0)]));
    PERFORM relaycore_post(postings, NULL, NULL, NULL);
END $$;

-- What the reaper knows of a reservation that was left behind.
CREATE FUNCTION relaycore_read_facts(held reservations) RETURNS ledger LANGUAGE sql STABLE AS $$
    SELECT (
        coalesce(relaycore_uuid(f ->> 'request_id'), held.id),
        CASE WHEN held.kind = 'call' AND jsonb_typeof(f -> 'request_time') = 'number'
                  AND abs((f ->> 'request_time')::numeric) < 4e9
             THEN to_timestamp((f ->> 'request_time')::float8) ELSE held.reserved_at END,
        0, 'reserved', 'estimated', held.reserved_at, now(), relaycore_uuid(f ->> 'user_id'),
        relaycore_uuid(f ->> 'api_key_id'), relaycore_uuid(f ->> 'team_id'), relaycore_uuid(f ->> 'organization_id'),
        f ->> 'provider', f ->> 'model', f ->> 'requested_model',
        CASE WHEN jsonb_typeof(f -> 'tags') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(f -> 'tags')) END,
        1, held.amount_usd, 1, held.amount_usd)::ledger
    FROM (SELECT CASE held.kind WHEN 'call' THEN held.facts ELSE held.facts - 'request_id' END) AS x (f)
$$;

-- Settles what dead processes held, and what was held for too long: it may have been spent, so it counts as spent.
-- At most 500 reservations a call; says how many.
CREATE FUNCTION relaycore_reap() RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    found_ids uuid[];
    postings relaycore_posting[];
    freed_ids uuid[]; freed_starts timestamptz[]; freed numeric[];
    held reservations; line ledger; one requests;
    aborted requests[]; costs numeric[]; known bigint[]; latencies float8[];
BEGIN
    IF EXISTS (SELECT FROM reservations AS r LEFT JOIN processes AS p ON p.id = r.process_id AND p.lease_until >= now()
               WHERE p.id IS NULL OR r.expires_at < now()) THEN
        PERFORM relaycore_begin_posting(true);
        SELECT array_agg(r.id) INTO found_ids
        FROM (SELECT r.id FROM reservations AS r
              WHERE r.expires_at < now()
                 OR NOT EXISTS (SELECT FROM processes AS p WHERE p.id = r.process_id AND p.lease_until >= now())
              ORDER BY r.id LIMIT 500 FOR UPDATE SKIP LOCKED) AS r;
    END IF;
    FOR held IN SELECT r.* FROM reservations AS r WHERE r.id = ANY (found_ids) ORDER BY r.id LOOP
        line := relaycore_read_facts(held);
        -- A request that has its row or its lines is recorded already: only the hold was left.
        CONTINUE WHEN EXISTS (SELECT FROM ledger AS l
                              WHERE l.request_id = line.request_id AND l.request_time = line.request_time)
                   OR EXISTS (SELECT FROM requests AS r
                              WHERE r.id = line.request_id AND r.request_time = line.request_time);
        INSERT INTO ledger SELECT line.*;
        postings := postings || (
            held.id, line.booked_at, line.amount_usd, line.user_id, line.api_key_id, line.team_id,
            line.organization_id, line.provider, line.model, line.requested_model, line.tags)::relaycore_posting;
        CONTINUE WHEN held.kind <> 'call';
        INSERT INTO requests (
            id, request_time, response_time, request_id, user_id, api_key_id, team_id, organization_id, provider,
            model, requested_model, endpoint, streamed, status_code, error_type, estimated_cost, cache_status,
            latency, tags)
        VALUES (
            line.request_id, line.request_time, now(),
            coalesce(held.facts ->> 'public_request_id', line.request_id::text), line.user_id, line.api_key_id,
            line.team_id, line.organization_id, line.provider, line.model, line.requested_model,
            coalesce(held.facts ->> 'endpoint', 'unknown'), held.facts -> 'streamed' = 'true'::jsonb IS TRUE, 500,
            'gateway_aborted', line.amount_usd, 'disabled',
            greatest(0, extract(epoch FROM now() - line.request_time) * 1000), line.tags)
        RETURNING * INTO one;
        aborted := aborted || one;
        costs := costs || line.amount_usd;
        known := known || 0::bigint;
        latencies := latencies || one.latency;
    END LOOP;
    PERFORM relaycore_correct_hours(aborted, 1, costs, known, latencies);
    SELECT array_agg(b.id), array_agg(b.start), array_agg(r.amount_usd) INTO freed_ids, freed_starts, freed
    FROM reservations AS r, unnest(r.budget_ids, r.period_starts) AS b (id, start)
    WHERE r.id = ANY (found_ids);
    DELETE FROM reservations WHERE id = ANY (found_ids);
    PERFORM relaycore_post(postings, freed_ids, freed_starts, freed);
    IF pg_try_advisory_xact_lock(hashtext('relaycore reap')) THEN
        DELETE FROM parallel_calls AS c
        WHERE NOT EXISTS (SELECT FROM processes AS p WHERE p.id = c.process_id AND p.lease_until >= now());
        DELETE FROM processes AS p
        WHERE p.lease_until < now() AND NOT EXISTS (SELECT FROM reservations AS r WHERE r.process_id = p.id);
    END IF;
    RETURN coalesce(cardinality(found_ids), 0);
END $$;

-- Takes back what the reaper booked of leases whose process lives after all and has booked each of their calls.
CREATE FUNCTION relaycore_refund(leases uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lines jsonb;
BEGIN
    PERFORM relaycore_begin_posting(true);
    SELECT jsonb_agg(to_jsonb(booked)) INTO lines
    FROM (SELECT l.request_id, l.request_time, l.token_class, -sum(l.quantity) AS quantity,
                 -sum(l.amount_usd) AS amount_usd
          FROM ledger AS l
          WHERE l.request_id = ANY (leases) AND l.token_class = 'reserved'
            AND NOT EXISTS (SELECT FROM requests AS r WHERE r.id = l.request_id AND r.request_time = l.request_time)
          GROUP BY 1, 2, 3 HAVING sum(l.amount_usd) > 0) AS booked;
    IF lines IS NOT NULL THEN
        PERFORM relaycore_adjust(lines);
    END IF;
END $$;

-- Compares counters with ledger and reservations, and requests with the ledger, all at one moment; no row: all is well.
-- What partitions that were dropped would be needed for is not compared.
CREATE FUNCTION relaycore_ledger_check() RETURNS TABLE (problem text, detail jsonb)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    first timestamptz := '-infinity'; -- what began before is not whole any more
    gone boolean;
BEGIN
    SELECT min(right(c.relname, 6)) > convert_from((SELECT value FROM installation WHERE name = 'ledger since'), 'UTF8'),
           (to_date(min(right(c.relname, 6)), 'YYYYMM') + interval '1 day') AT TIME ZONE 'UTC'
    INTO gone, first
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ledger'::regclass AND c.relname ~ '^ledger_p[0-9]{6}$';
    IF gone IS NOT TRUE THEN
        first := '-infinity';
    END IF;

    RETURN QUERY
    WITH hourly AS MATERIALIZED (
        SELECT l.api_key_id, l.user_id, l.team_id, l.organization_id, l.provider, l.model, l.requested_model, l.tags,
               date_bin('1 hour', l.booked_at, '2001-01-01 00:00:00+00') AS hour, sum(l.amount_usd) AS amount
        FROM ledger AS l GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    ), named AS MATERIALIZED (
        SELECT b.id, b.period, b.rolling, b.created_at, h.hour, sum(h.amount) AS amount
        FROM hourly AS h
        CROSS JOIN LATERAL relaycore_budget_names(
            h.api_key_id, h.user_id, h.team_id, h.organization_id, h.provider, h.model, h.requested_model, h.tags) AS n
        JOIN budgets AS b ON b.scope = n.scope AND b.ref = n.ref
        WHERE b.deleted_at IS NULL
        GROUP BY b.id, b.period, b.rolling, b.created_at, h.hour
    ), due AS (
        SELECT n.id, relaycore_period_start(n.period, n.hour) AS start, sum(n.amount) AS amount
        FROM named AS n
        WHERE NOT n.rolling
          AND relaycore_period_start(n.period, n.hour) >= relaycore_period_start(n.period, n.created_at)
        GROUP BY 1, 2
    ), counted AS (
        SELECT c.budget_id AS id, c.period_start AS start, c.spent_usd AS amount
        FROM budget_counters AS c JOIN budgets AS b ON b.id = c.budget_id
        WHERE b.deleted_at IS NULL AND NOT b.rolling
    ), due_slices AS (
        SELECT n.id, relaycore_slice_start(n.period, n.hour) AS start, sum(n.amount) AS amount
        FROM named AS n WHERE n.rolling GROUP BY 1, 2
    ), slices AS (
        SELECT s.budget_id AS id, s.slice_start AS start, s.spent_usd AS amount
        FROM budget_slices AS s JOIN budgets AS b ON b.id = s.budget_id WHERE b.deleted_at IS NULL
    )
    SELECT 'a counter differs from the ledger', jsonb_build_object(
               'budget_id', id, 'period_start', start, 'ledger', d.amount, 'counter', c.amount)
    FROM due AS d FULL JOIN counted AS c USING (id, start)
    WHERE coalesce(d.amount, 0) <> coalesce(c.amount, 0) AND start >= first
    UNION ALL
    SELECT 'a slice differs from the ledger', jsonb_build_object(
               'budget_id', id, 'slice_start', start, 'ledger', d.amount, 'slice', s.amount)
    FROM due_slices AS d FULL JOIN slices AS s USING (id, start) JOIN budgets AS b USING (id)
    WHERE coalesce(d.amount, 0) <> coalesce(s.amount, 0) AND start >= first
      AND relaycore_slice_leaves(b.period, start) > clock_timestamp();

    RETURN QUERY
    SELECT 'a rolling counter differs from its slices', jsonb_build_object(
               'budget_id', c.budget_id, 'slices', sum(s.spent_usd), 'counter', c.spent_usd)
    FROM budget_counters AS c JOIN budgets AS b ON b.id = c.budget_id AND b.rolling
    LEFT JOIN budget_slices AS s ON s.budget_id = b.id
    GROUP BY c.budget_id, c.period_start HAVING coalesce(sum(s.spent_usd), 0) <> c.spent_usd
    UNION ALL
    SELECT 'a counter differs from its reservations', jsonb_build_object(
               'budget_id', budget_id, 'period_start', period_start, 'reservations', h.amount,
               'counter', c.reserved_usd)
    FROM (SELECT w.budget_id, w.period_start, sum(r.amount_usd) AS amount
          FROM reservations AS r, unnest(r.budget_ids, r.period_starts) AS w (budget_id, period_start)
          GROUP BY 1, 2) AS h
    FULL JOIN budget_counters AS c USING (budget_id, period_start)
    WHERE coalesce(h.amount, 0) <> coalesce(c.reserved_usd, 0)
    UNION ALL
    SELECT 'a request differs from its lines', jsonb_build_object(
               'id', r.id, 'request_time', r.request_time, 'ledger', s.amount, 'request', r.estimated_cost)
    FROM requests AS r
    LEFT JOIN (SELECT l.request_id, l.request_time, sum(l.amount_usd) AS amount FROM ledger AS l GROUP BY 1, 2) AS s
        ON s.request_id = r.id AND s.request_time = r.request_time
    WHERE CASE WHEN s.amount IS NULL THEN r.estimated_cost > 0 AND r.request_time >= first
               ELSE r.estimated_cost IS DISTINCT FROM s.amount END;
END $$;

SELECT set_config('search_path', current_setting('relaycore.search_path'), true);
