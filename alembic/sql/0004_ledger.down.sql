DROP FUNCTION relaycore_ledger_check();
DROP FUNCTION relaycore_refund(uuid[]);
DROP FUNCTION relaycore_reap();
DROP FUNCTION relaycore_read_facts(reservations);
DROP FUNCTION relaycore_adjust(jsonb);
DROP FUNCTION relaycore_correct_hours(requests[], bigint, numeric[], bigint[], float8[]);
DELETE FROM installation WHERE name = 'ledger since';
DROP FUNCTION relaycore_ensure_ledger_partitions(integer);
DROP FUNCTION relaycore_ensure_ledger_partition(date);
DROP TABLE ledger_pdefault;
DROP TRIGGER append_only ON audit_log;
DROP TRIGGER append_only_whole ON audit_log;
DROP TRIGGER append_only ON ledger;
DROP TRIGGER append_only_whole ON ledger;
-- The triggers of partitions go with them, and they with the table.
DROP FUNCTION relaycore_refuse_change() CASCADE;
