DROP FUNCTION relaycore_sweep_limits;
DROP FUNCTION relaycore_move_clock;
DROP FUNCTION relaycore_admit;
DROP FUNCTION relaycore_finish_calls;
DROP FUNCTION relaycore_find_leaving;
DROP FUNCTION relaycore_lock_windows;
DROP FUNCTION relaycore_limit_share;
