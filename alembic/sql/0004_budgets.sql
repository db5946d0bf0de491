-- Budgets. Whatever changes a counter takes its locks in this order, and so never waits in a circle:
--   1. the advisory lock 'relaycore budgets' (relaycore_begin_posting): shared by who posts new lines to the ledger,
--      alone by who corrects lines, reaps or makes a budget; it comes first in the transaction
--   2. rows of requests, ledger and usage_hourly (the last in the order of its key)
--   3. reservations, by id
--   4. counters, by budget and start of period, once in a transaction (relaycore_lock_counters)
--   5. what belongs to a counter: slices, alerts
-- relaycore_reserve and relaycore_release take neither 1 nor 2: no call waits for the books.

-- Functions find our tables and nothing that somebody puts before them.
SELECT set_config('relaycore.search_path', current_setting('search_path'), true);
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

INSERT INTO snapshot_versions (name) VALUES ('budgets');
CREATE TRIGGER bump_budgets AFTER INSERT OR UPDATE OR DELETE ON budgets
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('budgets');

-- Periods. Calendar periods are those of UTC; a week begins on Monday. Intervals are in hours: a day has 24 of them.

CREATE FUNCTION relaycore_period_start(period text, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN period = 'total' THEN '-infinity'::timestamptz
                ELSE date_trunc(period, at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' END;

CREATE FUNCTION relaycore_period_end(period text, start timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN period = 'total' OR NOT isfinite(start) THEN 'infinity'::timestamptz
                ELSE ((start AT TIME ZONE 'UTC') + CASE period
                    WHEN 'day' THEN interval '1 day' WHEN 'week' THEN interval '7 days'
                    WHEN 'month' THEN interval '1 month' ELSE interval '3 months' END) AT TIME ZONE 'UTC' END;

-- How far back a rolling budget looks.
CREATE FUNCTION relaycore_window(period text) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE period WHEN 'day' THEN interval '24 hours' WHEN 'week' THEN interval '168 hours'
                       WHEN 'month' THEN interval '720 hours' WHEN 'quarter' THEN interval '2160 hours' END;

CREATE FUNCTION relaycore_slice_width(period text) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE period WHEN 'day' THEN interval '1 hour' WHEN 'week' THEN interval '6 hours'
                       WHEN 'month' THEN interval '24 hours' WHEN 'quarter' THEN interval '72 hours' END;

CREATE FUNCTION relaycore_slice_start(period text, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_bin(relaycore_slice_width(period), at, '2001-01-01 00:00:00+00'::timestamptz);

-- When a slice no longer counts: all of it lies before the window.
CREATE FUNCTION relaycore_slice_leaves(period text, slice_start timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN slice_start + relaycore_slice_width(period) + relaycore_window(period);

-- Which counter of a budget a moment belongs to.
CREATE FUNCTION relaycore_counter_start(period text, rolling boolean, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN rolling THEN '-infinity'::timestamptz ELSE relaycore_period_start(period, at) END;

CREATE FUNCTION relaycore_limit(amount numeric, override numeric, override_until timestamptz, at timestamptz)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN override_until > at THEN override ELSE amount END;

CREATE FUNCTION relaycore_uuid(written text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN written ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN written::uuid END;

-- An instant as JSON has it: seconds since the epoch, or a text.
CREATE FUNCTION relaycore_instant(written jsonb) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof(written) WHEN 'number' THEN to_timestamp((written #>> '{}')::float8)
                                      WHEN 'string' THEN (written #>> '{}')::timestamptz END;

-- Which budgets a line of the ledger concerns, said twice: as the names that it goes by, to find many budgets at once,
-- and as a question about one budget, to find many lines.

CREATE FUNCTION relaycore_budget_names(
    api_key_id uuid, user_id uuid, team_id uuid, organization_id uuid,
    provider text, model text, requested_model text, tags text[])
RETURNS TABLE (scope text, ref text) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT 'key', api_key_id::text WHERE api_key_id IS NOT NULL
    UNION SELECT 'user', user_id::text WHERE user_id IS NOT NULL
    UNION SELECT 'team', team_id::text WHERE team_id IS NOT NULL
    UNION SELECT 'organization', organization_id::text WHERE organization_id IS NOT NULL
    UNION SELECT 'model', name FROM unnest(ARRAY[model, provider || '/' || model, requested_model]) AS name
          WHERE name IS NOT NULL
    UNION SELECT 'tag', tag FROM unnest(tags) AS tag WHERE tag IS NOT NULL
$$;

CREATE FUNCTION relaycore_concerns(budgets, ledger) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(CASE $1.scope
        WHEN 'key' THEN $2.api_key_id = relaycore_uuid($1.ref)
        WHEN 'user' THEN $2.user_id = relaycore_uuid($1.ref)
        WHEN 'team' THEN $2.team_id = relaycore_uuid($1.ref)
        WHEN 'organization' THEN $2.organization_id = relaycore_uuid($1.ref)
        WHEN 'model' THEN $1.ref IN ($2.model, $2.provider || '/' || $2.model, $2.requested_model)
        ELSE $1.ref = ANY ($2.tags) END, false)
$$;

CREATE FUNCTION relaycore_begin_posting(alone boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF alone THEN
        PERFORM pg_advisory_xact_lock(hashtext('relaycore budgets'));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(hashtext('relaycore budgets'));
    END IF;
END $$;

-- Makes the counters that are missing and locks all, in the one order there is.
CREATE FUNCTION relaycore_lock_counters(ids uuid[], starts timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO budget_counters (budget_id, period_start, period_end, limit_usd)
    SELECT b.id, w.start, relaycore_period_end(b.period, w.start), b.amount_usd
    FROM unnest(ids, starts) AS w (id, start) JOIN budgets AS b ON b.id = w.id
    WHERE NOT EXISTS (SELECT FROM budget_counters c WHERE c.budget_id = w.id AND c.period_start = w.start)
    ORDER BY w.id, w.start
    ON CONFLICT DO NOTHING;
    PERFORM FROM budget_counters AS c
    JOIN unnest(ids, starts) AS w (id, start) ON c.budget_id = w.id AND c.period_start = w.start
    ORDER BY c.budget_id, c.period_start
    FOR NO KEY UPDATE OF c;
END $$;

-- Adds to counters that are locked, and brings them up to `moment`: old slices leave, the limit is that of now, and
-- what is over it is on record.
CREATE FUNCTION relaycore_touch_counters(
    ids uuid[], starts timestamptz[], spent numeric[], reserved numeric[], moment timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM budget_slices AS s USING budgets AS b
    WHERE b.id = ANY (ids) AND b.rolling AND s.budget_id = b.id
      AND relaycore_slice_leaves(b.period, s.slice_start) <= moment;
    UPDATE budget_counters AS c
    SET spent_usd = n.spent, reserved_usd = n.reserved, limit_usd = n.cap,
        overrun_usd = greatest(0, n.spent + n.reserved - n.cap)
    FROM (
        SELECT old.budget_id, old.period_start, old.reserved_usd + d.reserved AS reserved,
               relaycore_limit(b.amount_usd, b.override_usd, b.override_until, moment) AS cap,
               CASE WHEN b.rolling
                   THEN (SELECT coalesce(sum(s.spent_usd), 0) FROM budget_slices AS s WHERE s.budget_id = b.id)
                   ELSE old.spent_usd + d.spent END AS spent
        FROM unnest(ids, starts, spent, reserved) AS d (id, start, spent, reserved)
        JOIN budget_counters AS old ON old.budget_id = d.id AND old.period_start = d.start
        JOIN budgets AS b ON b.id = d.id) AS n
    WHERE c.budget_id = n.budget_id AND c.period_start = n.period_start;
END $$;

-- Says once a period which of the counters reached their soft limit.
CREATE FUNCTION relaycore_raise_alerts(ids uuid[], starts timestamptz[], moment timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    reached record;
BEGIN
    FOR reached IN
        UPDATE budget_counters AS c SET alerted_at = moment
        FROM unnest(ids, starts) AS w (id, start), budgets AS b
        WHERE c.budget_id = w.id AND c.period_start = w.start AND b.id = w.id
          AND b.deleted_at IS NULL AND c.spent_usd >= b.soft_limit_usd
          AND (c.alerted_at IS NULL OR (b.rolling AND c.alerted_at <= moment - relaycore_window(b.period)))
        RETURNING c.budget_id, c.period_start, b.soft_limit_usd, c.spent_usd
    LOOP
        INSERT INTO budget_alerts (budget_id, period_start, at, soft_limit_usd, spent_usd)
        VALUES (reached.budget_id, reached.period_start, moment, reached.soft_limit_usd, reached.spent_usd);
        PERFORM pg_notify('relaycore_alerts', jsonb_build_object(
            'budget_id', reached.budget_id, 'soft_limit_usd', reached.soft_limit_usd,
            'spent_usd', reached.spent_usd, 'at', moment)::text);
    END LOOP;
END $$;

-- What a request cost, with the names that say whose budgets it concerns.
CREATE TYPE relaycore_posting AS (
    reservation_id uuid, booked_at timestamptz, amount numeric, user_id uuid, api_key_id uuid, team_id uuid,
    organization_id uuid, provider text, model text, requested_model text, tags text[]);

-- Adds postings to the counters they concern, and takes off them what is no longer reserved (`freed_*`, side by side).
-- Periods that were over when a budget was made have no counter and get none.
CREATE FUNCTION relaycore_post(
    postings relaycore_posting[], freed_ids uuid[], freed_starts timestamptz[], freed numeric[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    moment timestamptz;
    hit_ids uuid[]; hit_starts timestamptz[]; hit_slices timestamptz[]; hits numeric[];
    ids uuid[]; starts timestamptz[]; spent numeric[]; reserved numeric[];
BEGIN
    SELECT array_agg(m.id), array_agg(m.start), array_agg(m.slice), array_agg(m.amount)
    INTO hit_ids, hit_starts, hit_slices, hits
    FROM (
        SELECT b.id, relaycore_counter_start(b.period, b.rolling, p.booked_at) AS start,
               CASE WHEN b.rolling THEN relaycore_slice_start(b.period, p.booked_at) END AS slice,
               sum(p.amount) AS amount
        FROM unnest(postings) AS p
        CROSS JOIN LATERAL relaycore_budget_names(
            p.api_key_id, p.user_id, p.team_id, p.organization_id, p.provider, p.model, p.requested_model, p.tags) AS n
        JOIN budgets AS b ON b.scope = n.scope AND b.ref = n.ref
        WHERE b.deleted_at IS NULL AND p.amount <> 0
          AND (b.rolling OR relaycore_period_start(b.period, p.booked_at)
                            >= relaycore_period_start(b.period, b.created_at))
        GROUP BY 1, 2, 3) AS m;
    SELECT array_agg(t.id), array_agg(t.start), array_agg(t.spent), array_agg(-t.freed)
    INTO ids, starts, spent, reserved
    FROM (
        SELECT u.id, u.start, sum(u.spent) AS spent, sum(u.freed) AS freed
        FROM (SELECT h.id, h.start, h.amount, 0 FROM unnest(hit_ids, hit_starts, hits) AS h (id, start, amount)
              UNION ALL
              SELECT f.id, f.start, 0, f.amount FROM unnest(freed_ids, freed_starts, freed) AS f (id, start, amount)
             ) AS u (id, start, spent, freed)
        GROUP BY u.id, u.start) AS t;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    PERFORM relaycore_lock_counters(ids, starts);
    moment := clock_timestamp();
    INSERT INTO budget_slices AS s (budget_id, slice_start, spent_usd)
    SELECT h.id, h.slice, h.amount
    FROM unnest(hit_ids, hit_slices, hits) AS h (id, slice, amount) JOIN budgets AS b ON b.id = h.id
    WHERE relaycore_slice_leaves(b.period, h.slice) > moment
    ON CONFLICT (budget_id, slice_start) DO UPDATE SET spent_usd = s.spent_usd + excluded.spent_usd;
    PERFORM relaycore_touch_counters(ids, starts, spent, reserved, moment);
    PERFORM relaycore_raise_alerts(ids, starts, moment);
END $$;

-- A new budget begins with what the ledger says of its period. No line is posted meanwhile: those before are in the
-- sum, those after find the budget.
CREATE FUNCTION relaycore_open_budgets() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    moment timestamptz;
BEGIN
    PERFORM relaycore_begin_posting(true);
    moment := clock_timestamp();
    INSERT INTO budget_slices (budget_id, slice_start, spent_usd)
    SELECT b.id, relaycore_slice_start(b.period, l.booked_at), sum(l.amount_usd)
    FROM opened AS o JOIN budgets AS b ON b.id = o.id
    JOIN ledger AS l ON l.booked_at >= relaycore_slice_start(b.period, moment - relaycore_window(b.period))
    WHERE b.rolling AND relaycore_concerns(b, l)
    GROUP BY 1, 2;
    INSERT INTO budget_counters (budget_id, period_start, period_end, limit_usd, spent_usd, overrun_usd)
    SELECT f.id, f.start, relaycore_period_end(f.period, f.start), f.cap, f.spent, greatest(0, f.spent - f.cap)
    FROM (
        SELECT t.id, t.period, t.start, sum(t.spent) AS spent,
               relaycore_limit(t.amount_usd, t.override_usd, t.override_until, moment) AS cap
        FROM (
            SELECT o.*, relaycore_counter_start(o.period, o.rolling, at) AS start, 0::numeric AS spent
            FROM opened AS o, unnest(ARRAY[o.created_at, moment]) AS at
            UNION ALL
            SELECT o.*, '-infinity', s.spent_usd FROM opened AS o JOIN budget_slices AS s ON s.budget_id = o.id
            UNION ALL
            SELECT o.*, relaycore_period_start(o.period, l.booked_at), l.amount_usd
            FROM opened AS o JOIN budgets AS b ON b.id = o.id
            -- A key has no lines from before it was made (by clocks that differ by less than an hour).
            LEFT JOIN api_keys AS k ON o.scope = 'key' AND k.id = relaycore_uuid(o.ref)
            JOIN ledger AS l ON l.booked_at >= greatest(
                relaycore_period_start(o.period, o.created_at), k.created_at - interval '1 hour')
            WHERE NOT o.rolling AND relaycore_concerns(b, l)) AS t
        GROUP BY t.id, t.period, t.start, cap) AS f
    ORDER BY f.id, f.start;
    RETURN NULL;
END $$;
CREATE TRIGGER open_budgets AFTER INSERT ON budgets REFERENCING NEW TABLE AS opened
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_open_budgets();

-- What a budget counts stays as it is: the sums would no longer be those of the ledger.
CREATE FUNCTION relaycore_guard_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.scope, NEW.ref, NEW.period, NEW.rolling, NEW.created_at)
       IS DISTINCT FROM (OLD.id, OLD.scope, OLD.ref, OLD.period, OLD.rolling, OLD.created_at)
       OR (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'the scope, ref and period of a budget cannot change, nor can a deleted one come back';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_budget BEFORE UPDATE ON budgets FOR EACH ROW EXECUTE FUNCTION relaycore_guard_budget();

-- Changed limits hold at once: a call that waits for the counter meanwhile sees the new ones.
CREATE FUNCTION relaycore_refresh_budgets() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    ids uuid[]; starts timestamptz[]; nothing numeric[];
BEGIN
    SELECT array_agg(c.budget_id), array_agg(c.period_start), array_agg(0::numeric) INTO ids, starts, nothing
    FROM budget_counters AS c JOIN changed AS n ON n.id = c.budget_id
    WHERE c.period_end > now();
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM relaycore_lock_counters(ids, starts);
    PERFORM relaycore_touch_counters(ids, starts, nothing, nothing, clock_timestamp());
    UPDATE budget_counters AS c SET alerted_at = NULL
    FROM changed AS n JOIN before AS o ON o.id = n.id
    WHERE c.budget_id = n.id AND c.period_start = ANY (starts) AND c.alerted_at IS NOT NULL
      AND n.soft_limit_usd IS DISTINCT FROM o.soft_limit_usd;
    RETURN NULL;
END $$;
CREATE TRIGGER refresh_budgets AFTER UPDATE ON budgets REFERENCING OLD TABLE AS before NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_refresh_budgets();

-- Brings rolling budgets, and those whose override ended, up to now although nobody calls; says how many there are.
CREATE FUNCTION relaycore_roll_budgets() RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    ids uuid[]; starts timestamptz[]; nothing numeric[];
BEGIN
    SELECT array_agg(c.budget_id), array_agg(c.period_start), array_agg(0::numeric) INTO ids, starts, nothing
    FROM budget_counters AS c JOIN budgets AS b ON b.id = c.budget_id
    WHERE b.deleted_at IS NULL AND c.period_end > now()
      AND (b.rolling
           OR c.limit_usd <> relaycore_limit(b.amount_usd, b.override_usd, b.override_until, clock_timestamp()));
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM relaycore_lock_counters(ids, starts);
    PERFORM relaycore_touch_counters(ids, starts, nothing, nothing, clock_timestamp());
    RETURN cardinality(ids);
END $$;

-- The live budgets, and how each stands now.
CREATE VIEW budget_status AS
SELECT b.id, b.scope, b.ref, b.name, b.amount_usd, b.soft_limit_usd, b.period, b.rolling, b.override_usd,
       b.override_until, b.created_at, b.updated_at, n.cap AS limit_usd, n.spent AS spent_usd,
       n.reserved AS reserved_usd, greatest(0, n.cap - n.spent - n.reserved) AS remaining_usd,
       greatest(0, n.spent + n.reserved - n.cap) AS overrun_usd, nullif(n.start, '-infinity') AS period_start,
       CASE WHEN b.rolling THEN n.leaves ELSE nullif(relaycore_period_end(b.period, n.start), 'infinity') END
           AS resets_at,
       n.alerted_at AS soft_limit_reached_at
FROM budgets AS b
CROSS JOIN LATERAL (
    SELECT w.start, relaycore_limit(b.amount_usd, b.override_usd, b.override_until, now()) AS cap, s.leaves,
           CASE WHEN b.rolling THEN s.spent ELSE coalesce(c.spent_usd, 0) END AS spent,
           coalesce(c.reserved_usd, 0) AS reserved, c.alerted_at
    FROM (SELECT relaycore_counter_start(b.period, b.rolling, now())) AS w (start)
    LEFT JOIN budget_counters AS c ON c.budget_id = b.id AND c.period_start = w.start
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(x.spent_usd), 0) AS spent, min(relaycore_slice_leaves(b.period, x.slice_start)) AS leaves
        FROM budget_slices AS x
        WHERE b.rolling AND x.budget_id = b.id AND relaycore_slice_leaves(b.period, x.slice_start) > now()) AS s
) AS n
WHERE b.deleted_at IS NULL;

-- The turns of a process up to this one are over: what asked in them and was not answered is granted nothing any more.
-- Waits for those that are being answered just now.
CREATE FUNCTION relaycore_end_turns(process uuid, turn bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('relaycore turns'), hashtext(process::text));
    UPDATE processes AS p SET turns_over = turn WHERE p.id = process AND p.turns_over < turn;
END $$;

-- Holds money for calls. Asks are served in order, each whole or not at all; the answer of each names the tightest of
-- its budgets. An ask that was answered before is answered the same again. Who says in which `turn` of the process it
-- asks is refused (RC002) when the process has no lease row, or that turn is over.
CREATE FUNCTION relaycore_reserve(process uuid, asks jsonb, turn bigint DEFAULT NULL)
RETURNS TABLE (
    ask integer, granted numeric, reserved_at timestamptz, budget_id uuid, scope text, ref text, period text,
    rolling boolean, limit_usd numeric, spent_usd numeric, reserved_usd numeric, remaining_usd numeric,
    resets_at timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    ids uuid[]; starts timestamptz[]; scopes text[]; refs text[]; periods text[]; kinds boolean[];
    resets timestamptz[]; caps numeric[]; spent numeric[]; reserved numeric[]; added numeric[]; nothing numeric[];
    one record;
    here integer; tightest integer;
    room numeric; smallest numeric; amount numeric;
    changed boolean := false;
BEGIN
    IF process IS NULL OR jsonb_typeof(asks) IS DISTINCT FROM 'array' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'reserve needs a process and a list of asks';
    END IF;
    IF turn IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(hashtext('relaycore turns'), hashtext(process::text));
        IF NOT EXISTS (SELECT FROM processes AS p WHERE p.id = process AND p.turns_over < turn) THEN
            RAISE EXCEPTION 'this turn is over' USING ERRCODE = 'RC002';
        END IF;
        moment := clock_timestamp();
    END IF;
    SELECT array_agg(b.id), array_agg(relaycore_counter_start(b.period, b.rolling, moment)) INTO ids, starts
    FROM (SELECT DISTINCT s.name ->> 0 AS scope, s.name ->> 1 AS ref
          FROM jsonb_array_elements(asks) AS a (ask), jsonb_array_elements(a.ask -> 'scopes') AS s (name)) AS named
    JOIN budgets AS b ON b.scope = named.scope AND b.ref = named.ref
    WHERE b.deleted_at IS NULL;
    IF ids IS NOT NULL THEN
        PERFORM relaycore_lock_counters(ids, starts);
    END IF;
    -- A call is booked when it has its turn, and in the period whose counter it locked.
    SELECT least(clock_timestamp(), min(c.period_end) - interval '1 microsecond') INTO moment
    FROM unnest(ids, starts) AS w (id, start)
    JOIN budget_counters AS c ON c.budget_id = w.id AND c.period_start = w.start;
    SELECT array_agg(x.id), array_agg(x.start), array_agg(x.scope), array_agg(x.ref), array_agg(x.period),
           array_agg(x.rolling), array_agg(x.resets), array_agg(x.cap), array_agg(x.spent), array_agg(x.reserved),
           array_agg(0::numeric), array_agg(0::numeric)
    INTO ids, starts, scopes, refs, periods, kinds, resets, caps, spent, reserved, added, nothing
    FROM (
        SELECT b.id, w.start, b.scope, b.ref, b.period, b.rolling, c.reserved_usd AS reserved,
               relaycore_limit(b.amount_usd, b.override_usd, b.override_until, moment) AS cap,
               CASE WHEN b.rolling THEN s.spent ELSE c.spent_usd END AS spent,
               CASE WHEN b.rolling THEN s.leaves ELSE nullif(c.period_end, 'infinity') END AS resets
        FROM unnest(ids, starts) AS w (id, start)
        JOIN budgets AS b ON b.id = w.id AND b.deleted_at IS NULL
        JOIN budget_counters AS c ON c.budget_id = w.id AND c.period_start = w.start
        LEFT JOIN LATERAL (
            SELECT coalesce(sum(s.spent_usd), 0) AS spent, min(relaycore_slice_leaves(b.period, s.slice_start)) AS leaves
            FROM budget_slices AS s
            WHERE b.rolling AND s.budget_id = b.id AND relaycore_slice_leaves(b.period, s.slice_start) > moment) AS s
            ON true
        ORDER BY b.id) AS x;
    FOR one IN
        SELECT a.place::integer - 1 AS place, a.ask ->> 'kind' AS kind, a.ask -> 'facts' AS facts,
               (a.ask ->> 'id')::uuid AS id, (a.ask ->> 'wanted')::numeric AS wanted,
               (a.ask ->> 'minimum')::numeric AS minimum, (a.ask ->> 'seconds')::float8 AS seconds,
               r.amount_usd AS before, r.reserved_at AS reserved_before,
               ARRAY(SELECT DISTINCT k.place::integer
                     FROM jsonb_array_elements(a.ask -> 'scopes') AS s (name)
                     JOIN unnest(scopes, refs) WITH ORDINALITY AS k (scope, ref, place)
                       ON k.scope = s.name ->> 0 AND k.ref = s.name ->> 1
                     ORDER BY 1) AS counters
        FROM jsonb_array_elements(asks) WITH ORDINALITY AS a (ask, place)
        LEFT JOIN reservations AS r ON r.id = (a.ask ->> 'id')::uuid
        ORDER BY a.place
    LOOP
        -- NaN is greater than every number for Postgres.
        IF (one.id IS NOT NULL AND one.kind IN ('call', 'escrow') AND one.wanted > 0 AND one.wanted < 'Infinity'
            AND one.minimum >= 0 AND one.minimum <= one.wanted AND one.seconds > 0 AND one.seconds < 1e9)
           IS NOT TRUE THEN
            RAISE invalid_parameter_value USING MESSAGE = 'ask ' || one.place || ' does not fit';
        END IF;
        smallest := NULL;
        tightest := NULL;
        FOREACH here IN ARRAY one.counters LOOP
            room := caps[here] - spent[here] - reserved[here];
            IF smallest IS NULL OR room < smallest THEN
                smallest := room;
                tightest := here;
            END IF;
        END LOOP;
        amount := CASE WHEN tightest IS NULL THEN one.wanted
                       ELSE round(greatest(0, least(one.wanted, smallest)), 15) END;
        granted := coalesce(one.before, CASE WHEN amount >= one.minimum THEN amount END);
        IF granted IS NOT NULL AND one.before IS NULL AND tightest IS NOT NULL THEN
            FOREACH here IN ARRAY one.counters LOOP
                reserved[here] := reserved[here] + granted;
                added[here] := added[here] + granted;
            END LOOP;
            smallest := smallest - granted;
            changed := true;
            INSERT INTO reservations (
                id, process_id, kind, amount_usd, budget_ids, period_starts, reserved_at, expires_at, facts)
            SELECT one.id, process, one.kind, granted, array_agg(ids[k] ORDER BY k), array_agg(starts[k] ORDER BY k),
                   moment, moment + make_interval(secs => one.seconds),
                   CASE WHEN jsonb_typeof(one.facts) = 'object' THEN one.facts ELSE '{}' END
            FROM unnest(one.counters) AS k;
        END IF;
        ask := one.place;
        reserved_at := coalesce(one.reserved_before, moment);
        budget_id := ids[tightest];
        scope := scopes[tightest];
        ref := refs[tightest];
        period := periods[tightest];
        rolling := kinds[tightest];
        limit_usd := caps[tightest];
        spent_usd := spent[tightest];
        reserved_usd := reserved[tightest];
        remaining_usd := CASE WHEN smallest < 0 THEN 0 ELSE smallest END;
        resets_at := resets[tightest];
        RETURN NEXT;
    END LOOP;
    IF changed THEN
        PERFORM relaycore_touch_counters(ids, starts, nothing, added, moment);
    END IF;
END $$;

-- How much of each of the locked reservations is given back: what is more than is kept; all where nothing is said.
CREATE FUNCTION relaycore_spare(locked uuid[], ids uuid[], kept numeric[]) RETURNS TABLE (id uuid, amount numeric)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT r.id, CASE WHEN kept IS NULL THEN r.amount_usd ELSE greatest(0, r.amount_usd - greatest(0, k.kept)) END
    FROM reservations AS r
    LEFT JOIN (SELECT w.id, min(w.kept) AS kept FROM unnest(ids, kept) AS w (id, kept) GROUP BY w.id) AS k ON k.id = r.id
    WHERE r.id = ANY (locked)
$$;

-- Gives reservations of a process back, as far as they are still there, but for what is `kept` (beside `ids`); says how
-- many there were. Doing so again, or late, gives back nothing more.
CREATE FUNCTION relaycore_release(process uuid, ids uuid[], kept numeric[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT SET jit = off AS $$
DECLARE
    found_ids uuid[]; freed_ids uuid[]; freed_starts timestamptz[]; freed numeric[];
BEGIN
    SELECT array_agg(r.id) INTO found_ids
    FROM (SELECT id FROM reservations WHERE id = ANY (ids) AND process_id = process ORDER BY id FOR UPDATE) AS r;
    IF found_ids IS NULL THEN
        RETURN 0;
    END IF;
    SELECT array_agg(b.id), array_agg(b.start), array_agg(g.amount) INTO freed_ids, freed_starts, freed
    FROM relaycore_spare(found_ids, ids, kept) AS g
    JOIN reservations AS r ON r.id = g.id, unnest(r.budget_ids, r.period_starts) AS b (id, start);
    IF kept IS NULL THEN
        DELETE FROM reservations WHERE id = ANY (found_ids);
    ELSE
        UPDATE reservations AS r SET amount_usd = r.amount_usd - g.amount
        FROM relaycore_spare(found_ids, ids, kept) AS g WHERE r.id = g.id;
    END IF;
    PERFORM relaycore_post(NULL, freed_ids, freed_starts, freed);
    RETURN cardinality(found_ids);
END $$;

-- Books what requests cost whose lines were posted in this transaction, and frees what was held for them. Once in a
-- transaction, after everything else in it.
CREATE FUNCTION relaycore_settle(entries jsonb) RETURNS void
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
