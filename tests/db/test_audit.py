"""The audit log: a chain that shows what was changed in it, whoever wrote at once."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import ProgrammingError

from app.access.audit_store import AuditFilter, count_audit_lines, find_head, list_audit_lines
from app.catalog.types import CacheConfig
from app.db.audit import Actor, Auditor, hash_line
from app.db.connection import DatabaseAwayError
from app.db.engine import open_blocking_engine
from app.db.tables import audit_log

KEY = b"k" * 32
ACTOR = Actor(label="a@example.org", user_id=UUID(int=1), key_id=UUID(int=2), request_id="r-1")


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def auditor(connection: Connection) -> Auditor:
    """An auditor that has written five lines."""
    auditor = Auditor(KEY)
    for number in range(1, 6):
        before, after = {"name": "old"}, CacheConfig(default_ttl=number)
        auditor.record(connection, ACTOR, "user.update", ("user", str(number)), before, after)
    return auditor


def tamper(connection: Connection, statement: str) -> None:
    """Change the log as somebody does who owns the database."""
    connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
    connection.execute(text(statement))


def test_an_untouched_log_is_whole(connection: Connection, auditor: Auditor) -> None:
    """A chain as it was written has no break, and neither has an empty one."""
    assert auditor.find_break(connection) is None
    assert count_audit_lines(connection, AuditFilter()) == 5
    tamper(connection, "DELETE FROM audit_log")
    assert auditor.find_break(connection) is None
    assert find_head(connection) is None


@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'",
        "actor = 'b@example.org'",
        "actor_user_id = NULL",
        "actor_key_id = '00000000-0000-0000-0000-000000000003'",
        "action = 'user.create'",
        "object_kind = 'team'",
        "object_id = '33'",
        "before = NULL",
        'before = \'{"name": "new"}\'',
        "after = jsonb_set(after, '{default_ttl}', '4')",
        "after = jsonb_set(after, '{default_ttl}', '\"3\"')",
        "request_id = 'r-2'",
        "hash = sha256(hash)",
        "previous_hash = sha256(hash)",
        "sequence = 30",
    ],
)
def test_every_field_is_bound(connection: Connection, auditor: Auditor, change: str) -> None:
    """Whatever is changed of a line is found, and the line is named."""
    tamper(connection, f"UPDATE audit_log SET {change} WHERE sequence = 3")
    assert auditor.find_break(connection) == 3


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("DELETE FROM audit_log WHERE sequence = 1", 1),
        ("DELETE FROM audit_log WHERE sequence = 4", 4),
        ("DELETE FROM audit_log WHERE sequence = 2; UPDATE audit_log SET sequence = 2 WHERE sequence = 5", 2),
    ],
)
def test_lines_are_bound_to_each_other(connection: Connection, auditor: Auditor, statement: str, broken: int) -> None:
    """Lines that are taken out, swapped or moved are found."""
    tamper(connection, statement)
    assert auditor.find_break(connection) == broken


def test_swapped_lines_are_found(connection: Connection, auditor: Auditor) -> None:
    """Two lines that change places with everything but their numbers break the chain at the first of them."""
    tamper(connection, "UPDATE audit_log SET sequence = sequence + 100 WHERE sequence IN (2, 4)")
    tamper(connection, "UPDATE audit_log SET sequence = CASE sequence WHEN 102 THEN 4 ELSE 2 END WHERE sequence > 100")
    assert auditor.find_break(connection) == 2


def test_nobody_without_the_key_can_add_a_line(connection: Connection, auditor: Auditor) -> None:
    """A line that fits in everything but was hashed under another key is found."""
    line = dict(connection.execute(select(audit_log).order_by(audit_log.c.sequence.desc())).mappings().first() or {})
    previous = bytes(line.pop("hash"))
    line.pop("previous_hash")
    line["sequence"] = 6
    forged = hash_line(b"another key", line, previous)
    connection.execute(insert(audit_log).values(**line, previous_hash=previous, hash=forged))
    assert auditor.find_break(connection) == 6


def test_the_end_is_what_the_last_hash_is_for(connection: Connection, auditor: Auditor) -> None:
    """Lines that are taken off the end leave a whole chain: only a last hash that was kept elsewhere tells."""
    kept = find_head(connection)
    tamper(connection, "DELETE FROM audit_log WHERE sequence = 5")
    assert auditor.find_break(connection) is None
    assert find_head(connection) != kept


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_database_refuses_changes(connection: Connection, auditor: Auditor, statement: str) -> None:
    """Lines are appended and never changed, by whatever program."""
    with pytest.raises(ProgrammingError, match="never changed"), connection.begin_nested():
        connection.execute(text(statement))
    assert auditor.find_break(connection) is None


def test_writers_at_once_make_one_chain(database_url: str) -> None:
    """Lines of many writers stand in one order, without a gap; what is rolled back leaves none."""

    def write(number: int) -> None:
        engine = open_blocking_engine(database_url)
        for turn in range(10):
            with engine.connect() as connection:
                Auditor(KEY).record(connection, ACTOR, "x", ("user", f"{number}.{turn}"), None, {"n": turn})
                if turn % 3 == 0:
                    connection.rollback()
                else:
                    connection.commit()
        engine.dispose()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine = open_blocking_engine(database_url)
    with engine.connect() as connection:
        assert Auditor(KEY).find_break(connection) is None
        assert count_audit_lines(connection, AuditFilter()) == 36
        numbers = [line.sequence for line in list_audit_lines(connection, AuditFilter(), limit=100)]
        assert numbers == list(range(36, 0, -1))
    engine.dispose()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def one_connection(module_database_url: str) -> Iterator[Connection]:
    engine = open_blocking_engine(module_database_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@given(before=JSON, after=JSON)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_of_every_kind_keep_their_hash(one_connection: Connection, before: object, after: object) -> None:
    """However the database writes a number or a text, a line that nobody touched is whole."""
    Auditor(KEY).record(one_connection, ACTOR, "x", ("user", "1"), before, after)
    assert Auditor(KEY).find_break(one_connection) is None
    one_connection.rollback()


def test_values_of_python_become_json(connection: Connection) -> None:
    """Money, instants and ids stand in the log as people write them."""
    after = {"usd": Decimal("12.50"), "at": datetime(2026, 1, 31, tzinfo=UTC), "id": UUID(int=7)}
    Auditor(KEY).record(connection, ACTOR, "x", ("user", "1"), None, after)
    (line,) = list_audit_lines(connection, AuditFilter(), limit=1)
    assert line.after == {"usd": "12.50", "at": "2026-01-31T00:00:00Z", "id": str(UUID(int=7))}
    assert Auditor(KEY).find_break(connection) is None


def test_nothing_is_written_without_a_key(connection: Connection) -> None:
    """Before the keys are loaded no line can be written, and with it no change be made."""
    with pytest.raises(DatabaseAwayError):
        Auditor().record(connection, ACTOR, "x", ("user", "1"), None, None)
