"""Calls on record without anybody having made them, and a way to ask for reports of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Connection

from app.analytics.report_query import COSTING, LISTING, parse_query
from app.analytics.report_types import ReportQuery
from app.db.engine import open_blocking_engine
from app.db.schema import migrations_folder

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 3
END = START + timedelta(days=DAYS)
USERS = [UUID(int=number) for number in (1, 2)]

INSERT = """
INSERT INTO requests
    (id, request_time, response_time, request_id, user_id, api_key_id, provider, model, endpoint, status_code,
     error_type, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, input_audio_tokens,
     input_image_tokens, output_tokens, reasoning_tokens, output_audio_tokens, output_image_tokens, web_searches,
     estimated_cost, saved_cost, cache_status, cache_key, cache_scope, optimizations_applied, latency, tags)
SELECT gen_random_uuid(), at, at, 'req-' || i,
    CASE WHEN i %% 3 < 2 THEN lpad((1 + i %% 3)::text, 32, '0')::uuid END,
    CASE WHEN i %% 7 > 0 THEN lpad((i %% 4)::text, 32, '0')::uuid END,
    (ARRAY['openai', 'anthropic', NULL])[1 + i %% 5 / 2],
    (ARRAY['Model-b', 'model-a', NULL, 'model-é'])[1 + i %% 4],
    (ARRAY['chat', 'messages'])[1 + i %% 2], status, CASE WHEN status >= 400 THEN 'upstream_error' END,
    tokens, tokens, tokens * 2, tokens * 0 + 1, tokens * 0, tokens * 0 + 4, tokens * 3, tokens * 0 + 5, tokens * 0,
    tokens * 0 + 6, tokens %% 2,
    CASE WHEN i %% 8 = 0 THEN NULL WHEN hit THEN 0 ELSE i * 0.000000000000001 END,
    CASE WHEN hit AND i %% 3 = 0 THEN i * 0.000001 END,
    CASE WHEN i %% 40 = 9 THEN 'semantic-hit' WHEN hit THEN 'hit' ELSE 'miss' END,
    decode(lpad(to_hex(i), 64, '0'), 'hex'), (ARRAY['user:1', 'namespace:faq', NULL])[1 + i %% 3],
    CASE i %% 10 WHEN 3 THEN '["trim"]' WHEN 4 THEN '["trim", "prune"]' ELSE '[]' END::jsonb,
    i %% 300, (ARRAY['{}', '{red,blue,red}', '{blue}', NULL]::text[])[1 + i %% 4]::text[]
FROM (SELECT i, %(start)s::timestamptz + random() * interval '3 days' AS at, i %% 4 = 1 AS hit,
             CASE WHEN i %% 6 > 0 THEN i %% 50 END AS tokens, (ARRAY[200, 200, 200, 429, 500])[1 + i %% 5] AS status
      FROM generate_series(1, %(number)s) AS i) AS calls
"""


class Viewer(msgspec.Struct, frozen=True):
    """Who asks."""

    user_id: UUID
    admin: bool = False


ADMIN = Viewer(UUID(int=99), admin=True)


def insert_calls(url: str, number: int) -> None:
    """Put calls on record that differ in everything, at any instant of three days."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT setseed(0.4)")
        add_calls(connection, number)
    sum_hours(url)


def add_calls(connection: psycopg.Connection, number: int) -> None:
    """Put such calls on record, and leave the sums by the hour as they are."""
    connection.execute(INSERT, {"start": START, "number": number})


def sum_hours(url: str) -> None:
    """Sum up by the hour what is on record, as the migration does."""
    text = (migrations_folder() / "sql" / "0004_analytics.sql").read_text()
    statement = text[text.index("INSERT INTO usage_hourly") :].partition(";")[0]
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE usage_hourly")
        connection.execute(statement.encode())


def query(url: str, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Return what plain SQL says."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement, values).fetchall()


@contextmanager
def asking(url: str) -> Iterator[Callable[..., Any]]:
    """Yield a function that reads a report: ask(read, "group_by=model", viewer)."""
    engine = open_blocking_engine(url)

    def ask(read: Callable[[Connection, ReportQuery], Any], text: str, viewer: Viewer = ADMIN) -> Any:
        with engine.connect() as connection:
            found = read(connection, build_query(text, viewer, listing=read.__name__ == "read_requests"))
            return msgspec.to_builtins(found, builtin_types=(datetime, UUID))

    try:
        yield ask
    finally:
        engine.dispose()


def build_query(text: str, viewer: Viewer = ADMIN, *, listing: bool = False) -> ReportQuery:
    """Return the query of a report, by default about all the calls of this module."""
    pairs = parse_qsl(text, strict_parsing=bool(text))
    given = dict(pairs)
    pairs += [(name, at.isoformat()) for name, at in (("start", START), ("end", END)) if name not in given]
    return parse_query("report", pairs, viewer, LISTING if listing else COSTING)
