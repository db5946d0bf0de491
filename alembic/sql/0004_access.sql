-- A statement that changes the access snapshot raises its version once, however many rows it touches, and stamps them
-- with it. The raised row stays locked until the end of the transaction: nobody else's version can come in between, and
-- versions become visible in their order.

DROP TRIGGER stamp_access ON api_keys;
DROP TRIGGER stamp_access ON users;

CREATE FUNCTION relaycore_raise_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM relaycore_bump('access');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION relaycore_stamp_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := (SELECT version FROM snapshot_versions WHERE name = 'access');
    RETURN NEW;
END $$;

CREATE TRIGGER raise_access BEFORE INSERT OR UPDATE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_raise_access();
CREATE TRIGGER raise_access BEFORE INSERT OR UPDATE ON teams
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_raise_access();
CREATE TRIGGER raise_access BEFORE INSERT OR UPDATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_raise_access();
CREATE TRIGGER raise_access BEFORE INSERT OR UPDATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_raise_access();
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON organizations
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON teams
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();
CREATE TRIGGER stamp_access BEFORE INSERT OR UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION relaycore_stamp_access();

-- A membership leaves no row behind when it ends, so it is its team that changes.
CREATE FUNCTION relaycore_stamp_teams() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE teams SET version = version WHERE id IN (SELECT team_id FROM changed);
    RETURN NULL;
END $$;

CREATE TRIGGER stamp_teams_joined AFTER INSERT ON team_members
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION relaycore_stamp_teams();
CREATE TRIGGER stamp_teams_left AFTER DELETE ON team_members
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION relaycore_stamp_teams();
CREATE TRIGGER stamp_teams_before AFTER UPDATE ON team_members
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION relaycore_stamp_teams();
CREATE TRIGGER stamp_teams_after AFTER UPDATE ON team_members
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION relaycore_stamp_teams();
