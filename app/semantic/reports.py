"""What the control plane reads and writes of decisions about similar answers."""

from uuid import UUID

import msgspec
from sqlalchemy import Connection, func, select, update

from app.db.tables import semantic_decisions
from app.semantic.evidence import WINDOW


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A served answer that somebody says is wrong."""

    id: UUID
    namespace: str
    policy: str
    entry_key: bytes


def find_reported(connection: Connection, request_id: str, user_id: UUID | None) -> Reported | None:
    """Return the answer that was served to a request, of `user_id` if one is given; the newest of that id."""
    table = semantic_decisions.c
    wanted = select(table.id, table.namespace, table.policy, table.entry_key).where(
        table.request_id == request_id, table.served
    )
    if user_id is not None:
        wanted = wanted.where(table.user_id == user_id)
    line = connection.execute(wanted.order_by(table.decided_at.desc()).limit(1)).first()
    return None if line is None else Reported(id=line[0], namespace=line[1], policy=line[2], entry_key=line[3])


def report_wrong(connection: Connection, reported: Reported) -> None:
    """Count a report once, in place of whatever a check said, and sum up the namespace's evidence anew."""
    table = semantic_decisions
    connection.execute(
        update(table)
        .where(table.c.id == reported.id, table.c.verdict.is_distinct_from("reported"))
        .values(verdict="reported", judged_at=func.now())
    )
    connection.execute(select(func.relaycore_sum_evidence(reported.namespace, reported.policy, WINDOW)))
