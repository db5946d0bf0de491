DELETE FROM snapshot_versions WHERE name = 'cache';
DROP FUNCTION relaycore_sum_evidence;
DROP FUNCTION relaycore_turn_cache_slots;
DROP FUNCTION relaycore_drop_cache_slot;
DROP FUNCTION relaycore_cache_slot_lives;
DROP FUNCTION relaycore_cache_slot_bytes;
DROP FUNCTION relaycore_open_cache_slot;
DROP FUNCTION relaycore_cache_period;
DROP FUNCTION relaycore_cache_class;
