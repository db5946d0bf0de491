"""What the end of a batch means: the counts that results add to, and the event that tells of it. No I/O."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from app.batch.types import Counts, Done
from app.wire.ids import make_uuid7

_FIELDS = {"parked": "errored"}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody wants to be told. `id` is the same each time that it is told."""

    id: UUID
    type: str
    payload: bytes


class Ended(NamedTuple):
    """A batch that came to its end just now. `tells`: somebody wants to know."""

    id: UUID
    shape: str
    state: str
    total: int
    succeeded: int
    errored: int
    cancelled: int
    expired: int
    tells: bool

    def build_event(self) -> Event:
        """Return the event of this end."""
        kind = f"batch.{self.state}"
        counts = {
            "total": self.total,
            "succeeded": self.succeeded,
            "errored": self.errored,
            "cancelled": self.cancelled,
            "expired": self.expired,
        }
        data = {"batch_id": str(self.id), "status": self.state, "request_counts": counts}
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        payload = msgspec.json.encode({"type": kind, "timestamp": now, "data": data})
        return Event(id=make_uuid7(), type=kind, payload=payload)


def count_outcomes(done: Iterable[Done]) -> Mapping[UUID, Counts]:
    """Return what results add to the counts of their batches, in the order of the batches' ids."""
    sums: dict[UUID, dict[str, int]] = {}
    for one in done:
        counts = sums.setdefault(one.batch_id, {"succeeded": 0, "errored": 0, "cancelled": 0, "expired": 0})
        counts[_FIELDS.get(one.outcome, one.outcome)] += 1
    return {batch_id: Counts(total=sum(sums[batch_id].values()), **sums[batch_id]) for batch_id in sorted(sums)}
