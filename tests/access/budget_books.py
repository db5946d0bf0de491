"""What the tests of budgets share: a way to make budgets, to hold money, to book what calls cost, and to look."""

import json
import time
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from app.access.budget_store import write_asks
from app.access.budget_types import Ask
from app.wire.ids import make_uuid7

NOBODY: dict[str, Any] = {
    "user_id": None,
    "api_key_id": None,
    "team_id": None,
    "organization_id": None,
    "provider": "mock",
    "model": "echo",
    "requested_model": "mock/echo",
    "tags": [],
}
RESERVE = """
SELECT ask, granted, budget_id, scope, ref, limit_usd, spent_usd, reserved_usd, remaining_usd, resets_at,
       extract(epoch FROM reserved_at)::float8 AS at
FROM relaycore_reserve(%s, %s) ORDER BY ask
"""
REQUEST = """
INSERT INTO requests (id, request_time, response_time, request_id, user_id, api_key_id, team_id, organization_id,
    provider, model, requested_model, endpoint, status_code, estimated_cost, cache_status, latency, tags)
VALUES (%(request_id)s, to_timestamp(%(request_time)s), now(), '', %(user_id)s, %(api_key_id)s, %(team_id)s,
    %(organization_id)s, %(provider)s, %(model)s, %(requested_model)s, 'chat', 200, %(amount)s, 'miss', 1, %(tags)s)
"""
LINE = """
INSERT INTO ledger (request_id, request_time, entry, token_class, kind, booked_at, user_id, api_key_id, team_id,
    organization_id, provider, model, requested_model, tags, quantity, usd_per_unit, amount_usd)
VALUES (%(request_id)s, to_timestamp(%(request_time)s), 0, 'output', 'usage', to_timestamp(%(booked_at)s), %(user_id)s,
    %(api_key_id)s, %(team_id)s, %(organization_id)s, %(provider)s, %(model)s, %(requested_model)s, %(tags)s, 1,
    %(amount)s, %(amount)s)
"""
COUNTER = """
SELECT limit_usd, spent_usd, reserved_usd, overrun_usd, alerted_at IS NOT NULL AS alerted FROM budget_counters
WHERE budget_id = %s ORDER BY period_start DESC LIMIT 1
"""


class Books:
    """A database with money in it, used as one process uses it."""

    def __init__(self, url: str, *, lease_seconds: float = 3600) -> None:
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.process = make_uuid7()
        self.live(lease_seconds)

    def live(self, seconds: float) -> None:
        """Say how long this process has still to live; negative: it is dead."""
        self.query(
            "INSERT INTO processes (id, lease_until) VALUES (%s, now() + make_interval(secs => %s)) "
            "ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
            self.process,
            seconds,
        )

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        cursor = self.connection.execute(statement, values)
        told = cursor.pgresult is not None and cursor.pgresult.status == psycopg.pq.ExecStatus.TUPLES_OK
        return cursor.fetchall() if told else []

    def value(self, statement: str, *values: object) -> Any:
        (line,) = self.query(statement, *values)
        return next(iter(line.values()))

    def budget(self, scope: str, ref: object, amount: object, period: str = "total", **values: object) -> UUID:
        """Make a budget and return its id."""
        said = {"id": make_uuid7(), "scope": scope, "ref": str(ref), "amount_usd": amount, "period": period, **values}
        names = ", ".join(said)
        self.query(f"INSERT INTO budgets ({names}) VALUES ({', '.join(['%s'] * len(said))})", *said.values())
        return said["id"]

    def reserve(self, *asks: Ask) -> list[dict[str, Any]]:
        return self.query(RESERVE, self.process, write_asks(asks))

    def hold(self, names: dict[str, Any], wanted: object, minimum: object | None = None, **values: Any) -> Any:
        """Ask for money for one call and return (ask, answer)."""
        ask = build_ask(names, wanted, minimum, **values)
        return ask, self.reserve(ask)[0]

    def book(self, names: dict[str, Any], amount: object, **values: Any) -> UUID:
        """Record a request that cost `amount`, as the recorder does, and return its id."""
        entry = build_entry(names, amount, **values)
        self.book_all(entry)
        return entry["request_id"]

    def book_all(self, *entries: dict[str, Any]) -> None:
        """Record requests in one transaction, as the recorder does."""
        with self.connection.transaction():
            self.connection.execute("SELECT relaycore_begin_posting()")
            for entry in entries:
                self.connection.execute(REQUEST, entry)
                if entry["amount"]:
                    self.connection.execute(LINE, entry)
            self.connection.execute("SELECT relaycore_settle(%s)", (json.dumps(entries, default=str),))

    def adjust(self, request_id: UUID, amount: object) -> None:
        """Correct what a request cost by `amount`."""
        at = self.value("SELECT request_time::text FROM requests WHERE id = %s", request_id)
        line = {
            "request_id": request_id,
            "request_time": at,
            "token_class": "output",
            "quantity": 0,
            "usd_per_unit": amount,
            "amount_usd": amount,
        }
        self.query("SELECT relaycore_adjust(%s)", json.dumps([line], default=str))

    def reap(self) -> int:
        return self.value("SELECT relaycore_reap()")

    def counter(self, budget_id: UUID) -> dict[str, Any]:
        """Return the newest counter of a budget."""
        return self.query(COUNTER, budget_id)[0]

    def problems(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM relaycore_ledger_check()")

    def pass_days(self, days: int) -> None:
        """Have everything happened so many days ago: what moves is the past, not the clock."""
        with self.connection.transaction():
            self.connection.execute("SET LOCAL session_replication_role = replica")
            for table, columns in PAST.items():
                for step in (days + FAR_DAYS, -FAR_DAYS):  # at once, rows would take the places of each other
                    moved = ", ".join(f"{name} = {name} - make_interval(days => %(days)s)" for name in columns)
                    self.connection.execute(f"UPDATE {table} SET {moved}", {"days": step})
            self.connection.execute(
                "UPDATE reservations SET period_starts = "
                "ARRAY(SELECT s - make_interval(days => %s) FROM unnest(period_starts) s)",
                (days,),
            )


FAR_DAYS = 10_000
PAST = {
    "ledger": ("booked_at",),
    "budgets": ("created_at",),
    "budget_counters": ("period_start", "period_end"),
    "budget_slices": ("slice_start",),
    "reservations": ("reserved_at",),
}


def build_entry(
    names: dict[str, Any],
    amount: object,
    *,
    ask: Ask | None = None,
    booked_at: float | None = None,
    request_id: UUID | None = None,
) -> dict[str, Any]:
    """Return what is booked of a request that cost `amount`."""
    at = time.time() if booked_at is None else booked_at
    return {
        **NOBODY,
        **names,
        "request_id": request_id or uuid4(),
        "request_time": at,
        "booked_at": at,
        "reservation_id": ask and ask.id,
        "amount": Decimal(str(amount)),
    }


def build_ask(
    names: dict[str, Any], wanted: object, minimum: object | None = None, *, kind: str = "call", **facts: Any
) -> Ask:
    """Return an ask of a call that goes by `names`."""
    said = {**NOBODY, **names}
    scopes = [
        ("key", said["api_key_id"]),
        ("user", said["user_id"]),
        ("team", said["team_id"]),
        ("organization", said["organization_id"]),
        ("model", said["model"]),
        ("model", f"{said['provider']}/{said['model']}"),
        *(("tag", tag) for tag in said["tags"]),
    ]
    return Ask(
        id=make_uuid7(),
        kind=kind,  # pyright: ignore[reportArgumentType]
        scopes=tuple((scope, str(ref)) for scope, ref in scopes if ref is not None),
        wanted_usd=Decimal(str(wanted)),
        minimum_usd=Decimal(str(wanted if minimum is None else minimum)),
        seconds=facts.pop("seconds", 600),
        facts={**said, "request_id": uuid4(), "request_time": time.time(), "endpoint": "chat", **facts},
    )
