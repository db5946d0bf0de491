-- Rate limits in sliding windows. A scope's row in rate_windows holds the sums of its rate_events and is the lock that
-- puts all decisions about the scope in one order; the time of a decision is read after the lock is held.

ALTER TABLE rate_windows SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE parallel_calls SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE rate_events SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000
);

-- The part of a limit that a caller may fill; of a limit that admits anybody, at least one.
CREATE FUNCTION relaycore_limit_share(full_limit bigint, share numeric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN share >= 1 OR full_limit IS NULL THEN full_limit
        ELSE least(full_limit, greatest(1, floor(full_limit * share)::bigint))
    END
$$;

-- Locks the windows of these scopes until the transaction ends, and makes those that are missing. Always all that a
-- transaction needs at once, and in order, so that nobody waits in a circle. The advisory lock keeps the sweep away.
CREATE FUNCTION relaycore_lock_windows(names text[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('relaycore limits'));
    INSERT INTO rate_windows (scope)
        SELECT name FROM unnest(names) AS name
        WHERE NOT EXISTS (SELECT FROM rate_windows WHERE scope = name)
        ORDER BY name
        ON CONFLICT DO NOTHING;
    PERFORM FROM rate_windows WHERE scope = ANY (names) ORDER BY scope FOR UPDATE;
END
$$;

-- When the request came after which, once it leaves the window, so many have left; NULL when there are fewer.
CREATE FUNCTION relaycore_find_leaving(name text, since timestamptz, needed bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT at FROM (
            SELECT at, sum(requests) OVER (ORDER BY at ROWS UNBOUNDED PRECEDING) AS gone
            FROM rate_events WHERE scope = name AND at > since
        ) AS events WHERE gone >= needed ORDER BY at LIMIT 1
    );
END
$$;

-- done = {"tokens": [[scope, event id, tokens more or (negative) less than admitted], …], "calls": {scope: calls}}.
-- `calls` are those of the process under way now. Tokens of an event that left its window do not matter any more.
CREATE FUNCTION relaycore_finish_calls(process uuid, done jsonb) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF jsonb_array_length(done -> 'tokens') > 0 THEN
        PERFORM relaycore_lock_windows(
            ARRAY(SELECT DISTINCT line ->> 0 FROM jsonb_array_elements(done -> 'tokens') AS line)
        );
        WITH corrections AS (
            SELECT line ->> 0 AS scope, (line ->> 1)::uuid AS id, sum((line ->> 2)::bigint)::bigint AS tokens
            FROM jsonb_array_elements(done -> 'tokens') AS line GROUP BY 1, 2
        ), corrected AS (
            UPDATE rate_events AS e SET tokens = e.tokens + c.tokens
            FROM corrections AS c WHERE e.scope = c.scope AND e.id = c.id
            RETURNING e.scope, c.tokens
        )
        UPDATE rate_windows AS w SET tokens = w.tokens + c.tokens
        FROM (SELECT scope, sum(tokens)::bigint AS tokens FROM corrected GROUP BY scope) AS c WHERE w.scope = c.scope;
    END IF;
    IF done ? 'calls' THEN
        INSERT INTO parallel_calls AS p (scope, process_id, calls)
            SELECT key, process, value::integer FROM jsonb_each_text(done -> 'calls') ORDER BY key
            ON CONFLICT (scope, process_id) DO UPDATE SET calls = excluded.calls WHERE p.calls <> excluded.calls;
    END IF;
END
$$;

-- asks = [{"limits": [{"scope", "rpm", "tpm", "max_parallel"}, …], "tokens": n, "share": 0 … 1}, …], served in order;
-- `share` is the part of each limit that the caller may fill. `done` is what relaycore_finish_calls takes, done first.
-- `span` is the length of the window: the minute and half a second, because calls reach providers a little after they
-- were admitted and nobody is to find more than the limit in any minute of theirs. One row for each ask, in order:
-- the tightest of its limits after the decision, and for a refusal the limit that it has to wait for longest
-- (wait_seconds is infinite when waiting does not help). When the clock is past `latest` it raises RC001 and decides
-- nothing.
CREATE FUNCTION relaycore_admit(
    process uuid, asks jsonb, done jsonb DEFAULT '{}',
    span interval DEFAULT '60.5 seconds', latest timestamptz DEFAULT NULL
) RETURNS TABLE (
    ask integer, admitted boolean, event_id uuid, decided_at timestamptz,
    refused_scope text, refused_limit text, refused_value bigint, wait_seconds double precision,
    limit_requests bigint, remaining_requests bigint, reset_requests_seconds double precision,
    limit_tokens bigint, remaining_tokens bigint, reset_tokens_seconds double precision
)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    names text[];
    used_requests bigint[];
    used_tokens bigint[];
    used_calls bigint[];
    new_requests bigint[];
    new_tokens bigint[];
    new_calls bigint[];
    last_events timestamptz[];
    pruned_to timestamptz[];
    known_needs bigint[];
    known_waits timestamptz[];
    curve_slot integer;
    curve_at timestamptz[];
    curve_gone float8[];
    moment timestamptz;
    one record;
    slot integer;
    need bigint;
    left_over bigint;
    leaves timestamptz;
    wait double precision;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF clock_timestamp() > latest THEN
        RAISE EXCEPTION 'the clock is later than it can be' USING ERRCODE = 'RC001';
    END IF;
    names := ARRAY(
        SELECT DISTINCT one_limit ->> 'scope'
        FROM jsonb_array_elements(asks) AS one_ask, jsonb_array_elements(one_ask -> 'limits') AS one_limit
    );
    PERFORM relaycore_lock_windows(
        names || ARRAY(SELECT line ->> 0 FROM jsonb_array_elements(coalesce(done -> 'tokens', '[]')) AS line)
    );
    PERFORM relaycore_finish_calls(process, done);
    moment := clock_timestamp();
    event_id := gen_random_uuid();
    decided_at := moment;

    SELECT array_agg(scope ORDER BY scope), array_agg(requests ORDER BY scope), array_agg(tokens ORDER BY scope),
        array_agg(last_at ORDER BY scope), array_agg(w.pruned_to ORDER BY scope), array_agg(0::bigint)
    INTO names, used_requests, used_tokens, last_events, pruned_to, new_requests
    FROM rate_windows AS w WHERE scope = ANY (names);
    IF names IS NULL THEN
        names := '{}';
        new_requests := '{}';
    END IF;
    new_tokens := new_requests;
    new_calls := new_requests;
    used_calls := new_requests;
    known_needs := new_requests;
    known_waits := array_fill(NULL::timestamptz, ARRAY[cardinality(names)]);

    IF EXISTS (SELECT FROM unnest(last_events) AS last_event WHERE last_event > moment) THEN
        -- The clock went back. What is in the future now counts from now on.
        UPDATE rate_events SET at = moment WHERE scope = ANY (names) AND at > moment;
        last_events := ARRAY(
            SELECT least(last_event, moment) FROM unnest(last_events) WITH ORDINALITY AS l (last_event, n) ORDER BY n
        );
        pruned_to := array_fill('-infinity'::timestamptz, ARRAY[cardinality(names)]);
    END IF;
    FOR one IN
        WITH gone AS (
            DELETE FROM rate_events AS e USING unnest(names, pruned_to) AS n (scope, since)
            WHERE e.scope = n.scope AND e.at > n.since AND e.at <= moment - span
            RETURNING e.scope, e.requests, e.tokens
        )
        SELECT array_position(names, scope) AS slot, sum(requests)::bigint AS requests, sum(tokens)::bigint AS tokens
        FROM gone GROUP BY scope
    LOOP
        used_requests[one.slot] := used_requests[one.slot] - one.requests;
        used_tokens[one.slot] := used_tokens[one.slot] - one.tokens;
    END LOOP;
    FOR one IN
        SELECT array_position(names, p.scope) AS slot, sum(p.calls) AS calls FROM parallel_calls AS p
        WHERE p.scope = ANY (names) AND p.calls > 0 AND (
            p.process_id = process
            OR EXISTS (SELECT FROM processes AS s WHERE s.id = p.process_id AND s.lease_until > moment)
        ) GROUP BY p.scope
    LOOP
        used_calls[one.slot] := one.calls;
    END LOOP;

    FOR one IN
        SELECT n::integer - 1 AS ask, coalesce((a.ask ->> 'tokens')::bigint, 0) AS tokens, l.*
        FROM jsonb_array_elements(asks) WITH ORDINALITY AS a (ask, n), LATERAL (
            SELECT array_agg(array_position(names, scope)) AS slots,
                array_agg(relaycore_limit_share(rpm, share)) AS rpm,
                array_agg(relaycore_limit_share(tpm, share)) AS tpm,
                array_agg(relaycore_limit_share(max_parallel, share)) AS max_parallel
            FROM jsonb_to_recordset(a.ask -> 'limits') AS x (scope text, rpm bigint, tpm bigint, max_parallel bigint),
                coalesce((a.ask ->> 'share')::numeric, 1) AS share
        ) AS l ORDER BY n
    LOOP
        ask := one.ask;
        refused_scope := NULL;
        refused_limit := NULL;
        refused_value := NULL;
        wait_seconds := NULL;
        FOR i IN 1 .. coalesce(cardinality(one.slots), 0) LOOP
            slot := one.slots[i];
            IF used_requests[slot] >= one.rpm[i] THEN
                need := used_requests[slot] + 1 - one.rpm[i];
                IF known_needs[slot] <> need THEN
                    known_needs[slot] := need;
                    known_waits[slot] := relaycore_find_leaving(names[slot], pruned_to[slot], need);
                END IF;
                leaves := CASE WHEN one.rpm[i] < 1 THEN 'infinity' ELSE coalesce(known_waits[slot], moment) END;
                wait := extract(epoch FROM leaves + span) - extract(epoch FROM moment);
                IF wait_seconds IS NULL OR wait > wait_seconds THEN
                    refused_scope := names[slot];
                    refused_limit := 'rpm';
                    refused_value := one.rpm[i];
                    wait_seconds := wait;
                END IF;
            END IF;
            IF used_tokens[slot] + one.tokens > one.tpm[i] THEN
                need := used_tokens[slot] + one.tokens - one.tpm[i];
                IF curve_slot IS DISTINCT FROM slot THEN
                    curve_slot := slot;
                    SELECT array_agg(at ORDER BY at, gone), array_agg(gone ORDER BY at, gone)
                    INTO curve_at, curve_gone FROM (
                        SELECT at, sum(tokens::float8) OVER (ORDER BY at ROWS UNBOUNDED PRECEDING) AS gone
                        FROM rate_events WHERE scope = names[slot] AND at > pruned_to[slot]
                    ) AS events;
                END IF;
                leaves := CASE
                    WHEN one.tokens > one.tpm[i] THEN 'infinity'
                    ELSE coalesce(curve_at[width_bucket(need - 0.5, curve_gone) + 1], moment)
                END;
                wait := extract(epoch FROM leaves + span) - extract(epoch FROM moment);
                IF wait_seconds IS NULL OR wait > wait_seconds THEN
                    refused_scope := names[slot];
                    refused_limit := 'tpm';
                    refused_value := one.tpm[i];
                    wait_seconds := wait;
                END IF;
            END IF;
            IF used_calls[slot] >= one.max_parallel[i] THEN
                wait := CASE WHEN one.max_parallel[i] < 1 THEN double precision 'Infinity' ELSE 1 END;
                IF wait_seconds IS NULL OR wait > wait_seconds THEN
                    refused_scope := names[slot];
                    refused_limit := 'max_parallel';
                    refused_value := one.max_parallel[i];
                    wait_seconds := wait;
                END IF;
            END IF;
        END LOOP;
        admitted := wait_seconds IS NULL;

        limit_requests := NULL;
        remaining_requests := NULL;
        reset_requests_seconds := NULL;
        limit_tokens := NULL;
        remaining_tokens := NULL;
        reset_tokens_seconds := NULL;
        FOR i IN 1 .. coalesce(cardinality(one.slots), 0) LOOP
            slot := one.slots[i];
            IF admitted AND (one.rpm[i] IS NOT NULL OR one.tpm[i] IS NOT NULL) THEN
                used_requests[slot] := used_requests[slot] + 1;
                new_requests[slot] := new_requests[slot] + 1;
                used_tokens[slot] := used_tokens[slot] + one.tokens;
                new_tokens[slot] := new_tokens[slot] + one.tokens;
                last_events[slot] := moment;
            END IF;
            IF admitted AND one.max_parallel[i] IS NOT NULL THEN
                used_calls[slot] := used_calls[slot] + 1;
                new_calls[slot] := new_calls[slot] + 1;
            END IF;
            left_over := greatest(one.rpm[i] - used_requests[slot], 0);
            IF one.rpm[i] IS NOT NULL AND (remaining_requests IS NULL OR left_over < remaining_requests) THEN
                limit_requests := one.rpm[i];
                remaining_requests := left_over;
                reset_requests_seconds := greatest(extract(epoch FROM last_events[slot] + span - moment), 0);
            END IF;
            left_over := greatest(one.tpm[i] - used_tokens[slot], 0);
            IF one.tpm[i] IS NOT NULL AND (remaining_tokens IS NULL OR left_over < remaining_tokens) THEN
                limit_tokens := one.tpm[i];
                remaining_tokens := left_over;
                reset_tokens_seconds := greatest(extract(epoch FROM last_events[slot] + span - moment), 0);
            END IF;
        END LOOP;
        RETURN NEXT;
    END LOOP;

    INSERT INTO rate_events (scope, id, at, requests, tokens)
        SELECT scope, event_id, moment, requests, tokens
        FROM unnest(names, new_requests, new_tokens) AS n (scope, requests, tokens) WHERE requests > 0;
    UPDATE rate_windows AS w SET requests = u.requests, tokens = u.tokens, last_at = u.last_at, pruned_to = moment - span
        FROM unnest(names, used_requests, used_tokens, last_events) AS u (scope, requests, tokens, last_at)
        WHERE w.scope = u.scope
            AND (w.requests, w.tokens, w.last_at) IS DISTINCT FROM (u.requests, u.tokens, u.last_at);
    INSERT INTO parallel_calls AS p (scope, process_id, calls)
        SELECT scope, process, calls FROM unnest(names, new_calls) AS n (scope, calls) WHERE calls > 0
        ON CONFLICT (scope, process_id) DO UPDATE SET calls = p.calls + excluded.calls;
END
$$;

-- Takes back a jump of the clock by `jump`: everything of before moves along, so that what was admitted stays in its
-- window and the processes that live stay alive. More than once for the same jump may keep events longer, never shorter.
CREATE FUNCTION relaycore_move_clock(jump interval) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtext('relaycore limits'));
    moment := clock_timestamp();
    IF jump > interval '0' THEN
        UPDATE rate_events SET at = least(at + jump, moment) WHERE at < moment - jump / 2;
        UPDATE rate_windows SET last_at = least(last_at + jump, moment), pruned_to = '-infinity'
            WHERE last_at < moment - jump / 2;
        UPDATE processes SET lease_until = lease_until + jump WHERE lease_until < moment - jump / 2;
    ELSE
        UPDATE rate_events SET at = least(at + jump, moment) WHERE at > moment - jump / 2;
        UPDATE rate_windows SET last_at = least(last_at + jump, moment), pruned_to = '-infinity'
            WHERE last_at > moment - jump / 2;
        UPDATE processes SET lease_until = lease_until + jump WHERE lease_until > moment - jump / 2;
    END IF;
END
$$;

-- Deletes what no window holds any more, in bounded steps, and returns how many rows that were.
CREATE FUNCTION relaycore_sweep_limits(span interval DEFAULT '60.5 seconds', most integer DEFAULT 10000) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    before timestamptz;
    deleted integer;
    swept integer;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtext('relaycore limits'));
    before := clock_timestamp() - span;
    WITH idle AS (
        DELETE FROM rate_windows WHERE scope IN (
            SELECT scope FROM rate_windows WHERE last_at <= before OR last_at IS NULL LIMIT most
        ) RETURNING scope
    ), events AS (
        DELETE FROM rate_events WHERE scope IN (SELECT scope FROM idle) RETURNING 1
    )
    SELECT (SELECT count(*) FROM idle) + (SELECT count(*) FROM events) INTO swept;
    DELETE FROM parallel_calls AS p
        WHERE p.calls = 0 OR NOT EXISTS (SELECT FROM processes AS s WHERE s.id = p.process_id);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN swept + deleted;
END
$$;
