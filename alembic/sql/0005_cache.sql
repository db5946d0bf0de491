-- Slots of the caches. What is kept together leaves together, by dropping the partitions of a slot: nothing is deleted
-- row by row but what somebody asks to have deleted.

-- The class of a time to live: 0 up to two hours, 1 up to a day, 2 longer.
CREATE FUNCTION relaycore_cache_class(ttl_seconds float8) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN ttl_seconds <= 7200 THEN 0::smallint WHEN ttl_seconds <= 86400 THEN 1::smallint ELSE 2::smallint END
$$;

-- How long a slot of a class is open to new entries: expired ones stay on disk for at most that much longer.
CREATE FUNCTION relaycore_cache_period(of_class smallint) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE of_class WHEN 0 THEN interval '30 minutes' WHEN 1 THEN interval '6 hours' ELSE interval '4 days' END
$$;

-- Opens a slot and returns its number. Tables are made apart and attached: that does not keep readers waiting.
CREATE FUNCTION relaycore_open_cache_slot(of_class smallint) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    opened bigint;
    part text;
    parent text;
BEGIN
    UPDATE cache_slots SET closed_at = now() WHERE class = of_class AND closed_at IS NULL;
    INSERT INTO cache_slots (class) VALUES (of_class) RETURNING slot INTO opened;
    FOREACH parent IN ARRAY ARRAY['cache_entries', 'semantic_entries'] LOOP
        part := parent || '_s' || opened;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', part, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', parent, part, opened);
    END LOOP;
    RETURN opened;
END $$;

-- The bytes of a slot on disk, its indexes included.
CREATE FUNCTION relaycore_cache_slot_bytes(of_slot bigint) RETURNS bigint
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT coalesce(pg_total_relation_size(to_regclass('cache_entries_s' || of_slot)), 0)
         + coalesce(pg_total_relation_size(to_regclass('semantic_entries_s' || of_slot)), 0)
$$;

-- Whether a slot has an entry that still counts.
CREATE FUNCTION relaycore_cache_slot_lives(of_slot bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE lives boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE expires_at > now())', 'cache_entries_s' || of_slot) INTO lives;
    RETURN lives;
END $$;

-- Drops a slot; false when somebody is using it now, and another time will do. Whoever looks something up meanwhile
-- waits behind it, so it is given up soon.
CREATE FUNCTION relaycore_drop_cache_slot(of_slot bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '20ms' AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I, %I', 'cache_entries_s' || of_slot, 'semantic_entries_s' || of_slot);
    DELETE FROM cache_slots WHERE slot = of_slot;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

-- Keeps the caches at their size and age, and says which slots are to be dropped: slots that were open for their time or
-- have grown to a sixteenth of `max_bytes` are closed; closed ones go when nothing in them counts any more, when they
-- are older than `max_age`, or, the oldest first, while all together take more than `max_bytes`. Where somebody else is
-- at it, or holds the tables, it does nothing.
CREATE FUNCTION relaycore_turn_cache_slots(max_bytes bigint, max_age interval) RETURNS SETOF bigint
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    one record;
    total bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('relaycore_cache_slots')) THEN
        RETURN;
    END IF;
    DELETE FROM cache_leases WHERE until < now() - interval '1 minute';
    DELETE FROM cache_clearings WHERE at < now() - interval '1 day';
    FOR one IN SELECT * FROM cache_slots WHERE closed_at IS NULL LOOP
        IF relaycore_cache_slot_bytes(one.slot) > max_bytes / 16
           OR (one.opened_at < now() - relaycore_cache_period(one.class) AND relaycore_cache_slot_lives(one.slot)) THEN
            PERFORM relaycore_open_cache_slot(one.class);
        END IF;
    END LOOP;
    SELECT coalesce(sum(relaycore_cache_slot_bytes(slot)), 0) INTO total FROM cache_slots;
    FOR one IN SELECT * FROM cache_slots WHERE closed_at IS NOT NULL ORDER BY opened_at, slot LOOP
        IF total > max_bytes OR one.opened_at < now() - max_age - relaycore_cache_period(one.class)
           OR NOT relaycore_cache_slot_lives(one.slot) THEN
            total := total - relaycore_cache_slot_bytes(one.slot);
            RETURN NEXT one.slot;
        END IF;
    END LOOP;
EXCEPTION WHEN lock_not_available THEN
    RETURN;
END $$;

-- Bodies are compressed before they come here; vectors are read whole and often.
ALTER TABLE cache_entries ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE semantic_entries ALTER COLUMN embedding SET STORAGE PLAIN;

SELECT relaycore_open_cache_slot(class::smallint) FROM generate_series(0, 2) AS class;

-- Sums up the verdicts of a namespace under a policy by tier: of each tier's `span` newest, newest 500 and newest 50, so
-- that a tier which is checked often does not push out what is known of the others. Whoever sums up waits for the one
-- before: each sees all verdicts that are there.
CREATE FUNCTION relaycore_sum_evidence(of_namespace text, of_policy text, span integer) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT pg_advisory_xact_lock(hashtext('relaycore evidence'), hashtext(of_namespace || of_policy));
    INSERT INTO semantic_evidence AS held
        (namespace, policy, tier, checked, wrong, recent_checked, recent_wrong, newest_wrong, updated_at)
    SELECT of_namespace, of_policy, t.tier, count(d.place), count(*) FILTER (WHERE d.wrong),
        count(*) FILTER (WHERE d.place <= 500), count(*) FILTER (WHERE d.place <= 500 AND d.wrong),
        count(*) FILTER (WHERE d.place <= 50 AND d.wrong), now()
    FROM generate_series(0, 2) AS t (tier)
    LEFT JOIN LATERAL (
        SELECT verdict <> 'same' AS wrong, row_number() OVER (ORDER BY judged_at DESC) AS place
        FROM semantic_decisions
        WHERE namespace = of_namespace AND policy = of_policy AND semantic_decisions.tier = t.tier
            AND judged_at IS NOT NULL
        ORDER BY judged_at DESC LIMIT span) AS d ON true
    GROUP BY t.tier
    ORDER BY t.tier
    ON CONFLICT (namespace, policy, tier)
    DO UPDATE SET checked = excluded.checked, wrong = excluded.wrong, recent_checked = excluded.recent_checked,
                  recent_wrong = excluded.recent_wrong, newest_wrong = excluded.newest_wrong,
                  updated_at = excluded.updated_at
$$;

-- Not 0, which stands for everything.
INSERT INTO snapshot_versions (name, version) VALUES ('cache', 1);
