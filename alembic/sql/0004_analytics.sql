-- Until now nobody told tokens of images apart: where the use is known, none were counted as such.
UPDATE requests SET input_image_tokens = 0, output_image_tokens = 0 WHERE input_tokens IS NOT NULL;

-- What is on record already is summed by the hour once; from now on every transaction that inserts adds its own.
INSERT INTO usage_hourly (
    hour, user_id, api_key_id, team_id, organization_id, provider, model, endpoint, cache_status, status_code, requests,
    input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens,
    input_image_tokens, output_tokens, reasoning_tokens, output_audio_tokens, output_image_tokens, web_searches,
    unknown_usage, estimated_cost, saved_cost, unknown_cost, unknown_saving, latency_ms)
SELECT date_trunc('hour', request_time, 'UTC'), user_id, api_key_id, team_id, organization_id, provider, model,
       endpoint, cache_status, status_code, count(*),
       coalesce(sum(input_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
       coalesce(sum(cache_write_1h_tokens), 0), coalesce(sum(input_audio_tokens), 0),
       coalesce(sum(input_image_tokens), 0), coalesce(sum(output_tokens), 0),
       coalesce(sum(reasoning_tokens), 0), coalesce(sum(output_audio_tokens), 0),
       coalesce(sum(output_image_tokens), 0), coalesce(sum(web_searches), 0),
       count(*) FILTER (WHERE input_tokens IS NULL), coalesce(sum(estimated_cost), 0), coalesce(sum(saved_cost), 0),
       count(*) FILTER (WHERE estimated_cost IS NULL),
       count(*) FILTER (WHERE saved_cost IS NULL AND cache_status IN ('hit', 'semantic-hit')), sum(latency)
FROM requests
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
