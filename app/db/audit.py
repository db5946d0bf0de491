"""The audit log: who changed what, before and after, in a chain of hashes under a key that is not in the database."""

import hashlib
import hmac
from collections.abc import Generator
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from sqlalchemy import Connection, func, insert, select

from app.db.connection import DatabaseAwayError
from app.db.tables import audit_log

START = bytes(32)
"""What the first line's hash covers in place of a line before it."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts: `label` is for people (an e-mail address, a key's public id, "cli")."""

    label: str
    user_id: UUID | None = None
    key_id: UUID | None = None
    request_id: str | None = None


COMMAND_LINE = Actor(label="command line")


class Auditor:
    """Writes lines in the transactions of the changes that they tell of.

    In a running process the key comes with the first snapshot; before that nothing can be changed.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def load(self, key: bytes) -> None:
        """Take over the key of the chain."""
        self._key = key

    def record(
        self, connection: Connection, actor: Actor, action: str, of: tuple[str, str], before: object, after: object
    ) -> None:
        """Append a line about the object `of` (kind, id); None as `before` is a creation, as `after` a deletion.

        Lines are written one transaction after the other. Secrets must not be in `before` and `after`.
        """
        if not self._key:
            raise DatabaseAwayError("audit log")
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore audit"))))
        newest = select(audit_log.c.sequence, audit_log.c.hash).order_by(audit_log.c.sequence.desc()).limit(1)
        last = connection.execute(newest).first()
        line: dict[str, Any] = {
            "sequence": last[0] + 1 if last is not None else 1,
            "at": connection.execute(select(func.clock_timestamp())).scalar_one(),
            "actor": actor.label,
            "actor_user_id": actor.user_id,
            "actor_key_id": actor.key_id,
            "action": action,
            "object_kind": of[0],
            "object_id": of[1],
            "before": _plain(before),
            "after": _plain(after),
            "request_id": actor.request_id,
        }
        previous = bytes(last[1]) if last is not None else START
        connection.execute(
            insert(audit_log).values(**line, previous_hash=previous, hash=hash_line(self._key, line, previous))
        )

    def find_break(self, connection: Connection) -> int | None:
        """Return the sequence number of the first line that is not as it was written; None when all are."""
        expected, previous = 1, START
        with closing(_read_lines(connection)) as lines:
            for line in lines:
                stored, chained = bytes(line.pop("hash")), bytes(line.pop("previous_hash"))
                right = hash_line(self._key, line, previous)
                if line["sequence"] != expected or chained != previous or not hmac.compare_digest(stored, right):
                    return expected
                expected, previous = expected + 1, stored
        return None


def hash_line(key: bytes, line: dict[str, Any], previous: bytes) -> bytes:
    """Return the hash of a line: HMAC-SHA-256 over the one before it and everything the line says."""
    values = {name: _settle_numbers(line[name]) for name in ("before", "after")}
    said = {**line, **values, "at": line["at"].astimezone(UTC).isoformat()}
    return hmac.digest(key, previous + _encode(said), hashlib.sha256)


def _read_lines(connection: Connection) -> Generator[dict[str, Any], None, None]:
    """Yield the lines in order, a part at a time."""
    statement = select(audit_log).order_by(audit_log.c.sequence).execution_options(yield_per=1000)
    with connection.execute(statement) as found:
        for line in found.mappings():
            yield dict(line)


def _settle_numbers(value: Any) -> Any:
    """Return `value` with each number written in one way: the database writes some in another than it was given."""
    if isinstance(value, dict):
        return {name: _settle_numbers(one) for name, one in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_settle_numbers(one) for one in cast(list[Any], value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return msgspec.Raw(_write_number(value))
    return value


def _write_number(value: float) -> str:
    text = format(Decimal(str(value)), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _plain(value: object) -> Any:
    """Return `value` as plain JSON has it."""
    if value is None:
        return None
    return _write_money(msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True, enc_hook=str))


def _write_money(value: Any) -> Any:
    """Return `value` with each amount as a text of digits, never with an exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {name: _write_money(one) for name, one in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_write_money(one) for one in cast(list[Any], value)]
    return value
