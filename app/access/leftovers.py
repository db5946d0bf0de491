"""What a process gives back of the money it held; all of it may be done twice, and late."""

from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from app.access.budget_store import end_turns, refund, release, release_spare
from app.db.connection import Connection


class Leftovers(NamedTuple):
    """What goes back: whole holds, leases but for what is kept of each, and what others booked of leases.

    Up to the turn that was lost, nobody knows what was granted.
    """

    unwanted: list[UUID]
    kept: list[tuple[UUID, Decimal]]
    refunds: list[UUID]
    lost_turn: int | None


async def give_back_all(process_id: UUID, work: Leftovers, connection: Connection) -> None:
    """Give back what is left over."""
    if work.lost_turn is not None:
        await end_turns(connection, process_id, work.lost_turn)
    if work.kept:
        await release_spare(connection, process_id, work.kept)
    if work.unwanted:
        await release(connection, process_id, work.unwanted)
    if work.refunds:
        await refund(connection, work.refunds)
