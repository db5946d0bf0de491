DROP TRIGGER stamp_teams_after ON team_members;
DROP TRIGGER stamp_teams_before ON team_members;
DROP TRIGGER stamp_teams_left ON team_members;
DROP TRIGGER stamp_teams_joined ON team_members;
DROP FUNCTION relaycore_stamp_teams();

DROP TRIGGER stamp_access ON organizations;
DROP TRIGGER stamp_access ON teams;
DROP TRIGGER raise_access ON organizations;
DROP TRIGGER raise_access ON teams;
DROP TRIGGER raise_access ON users;
DROP TRIGGER raise_access ON api_keys;
DROP FUNCTION relaycore_raise_access();

CREATE OR REPLACE FUNCTION relaycore_stamp_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := relaycore_bump('access');
    RETURN NEW;
END $$;
