"""What is on record when money comes: the hourly sums and the ledger begin with it."""

import psycopg
from alembic import command

from app.db.engine import open_blocking_engine
from app.db.schema import build_alembic_config, migrate
from tests.analytics.samples import BY_THE_HOUR, ROLLED_UP

OLD_ROWS = """
INSERT INTO requests (id, request_time, response_time, request_id, provider, model, endpoint, status_code, input_tokens,
                      cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens,
                      output_tokens, reasoning_tokens, output_audio_tokens, web_searches, estimated_cost, saved_cost,
                      cache_status, latency)
SELECT gen_random_uuid(), timestamptz '2026-01-01 22:59:59.999999+00' + number * interval '17 minutes', now(), 'old',
       'openai', (ARRAY['gpt-4o', NULL])[1 + mod(number, 2)], 'messages', 200, tokens, tokens, tokens, tokens, tokens,
       tokens, tokens, tokens, tokens, cost, saved, status, number
FROM generate_series(1, 60) AS number,
     (VALUES (5, 0.25, NULL, 'miss'), (NULL, NULL, NULL, 'miss'), (7, 0, 0.5, 'hit'), (NULL, 0, NULL, 'semantic-hit'))
     AS kind (tokens, cost, saved, status)
"""


def test_what_was_recorded_before_is_summed_up(bare_database_url):
    """After the migration the hourly sums are those of all rows there were, and what they cost is in the ledger."""
    engine = open_blocking_engine(bare_database_url)
    with engine.connect() as connection:
        command.downgrade(build_alembic_config(connection), "0003")
        connection.exec_driver_sql(OLD_ROWS)
        connection.commit()
    engine.dispose()
    migrate(bare_database_url)
    with psycopg.connect(bare_database_url) as connection:
        assert connection.execute(f"({BY_THE_HOUR}) EXCEPT ({ROLLED_UP})").fetchall() == []
        assert connection.execute("SELECT sum(requests), sum(unknown_saving) FROM usage_hourly").fetchone() == (240, 60)
        assert connection.execute("SELECT count(*), sum(amount_usd) FROM ledger").fetchone() == (60, 15)
        assert connection.execute("SELECT * FROM relaycore_ledger_check()").fetchall() == []
