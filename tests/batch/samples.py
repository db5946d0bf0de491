"""Batches for tests of what Postgres keeps of them."""

import time
from decimal import Decimal
from uuid import UUID, uuid4

from app.access.budget_types import Ask
from app.analytics.rows import build_priced_row
from app.analytics.types import RequestRow
from app.batch.intake_store import accept_batch, insert_batch, insert_requests
from app.batch.types import Done, Item, NewBatch, NewRequest, Outcome, Work
from app.db.connection import Connection
from app.wire.ids import make_uuid7
from app.wire.money import Hold, Line
from app.wire.usage import Usage

USER = uuid4()


def build_request(number: int, **fields: object) -> NewRequest:
    """Return a request."""
    item = Item(custom_id=f"r{number}", path="/v1/mock/chat/completions", body=b'{"model":"echo","messages":[]}')
    return NewRequest(item=item, provider="mock", model="echo", **fields)


async def store_batch(
    connection: Connection, count: int, *, asks: tuple[Ask, ...] = (), batch: NewBatch | None = None, **fields: object
) -> UUID:
    """Store an accepted batch of `count` requests and return its id."""
    new = batch or NewBatch(id=make_uuid7(), shape="relay", user_id=USER, api_key_id=None)
    await insert_batch(connection, new)
    await insert_requests(connection, new.id, 0, [build_request(number, **fields) for number in range(count)])
    ahead, answers = await accept_batch(connection, new.id, 0, count, asks)
    assert ahead >= 0, answers
    return new.id


def build_done(work: Work, outcome: Outcome = "succeeded", *, usd: str = "0.5", hold: Hold | None = None) -> Done:
    """Return what came of a claimed request, with a line of the record that costs something."""
    row = RequestRow(
        id=make_uuid7(),
        request_id="r",
        request_time=time.time(),
        response_time=time.time(),
        provider="mock",
        model="echo",
    )
    row.user_id, row.usage, row.status_code, row.hold = USER, Usage(input_tokens=1), 200, hold or work.hold
    return Done(
        batch_id=work.batch_id,
        position=work.position,
        attempt=work.attempt,
        outcome=outcome,
        status_code=200,
        body=b'{"answer":1}',
        priced=build_priced_row(row, lambda *_, **__: (build_line(usd),)),
        hold=row.hold,
    )


def build_line(usd: str) -> Line:
    """Return a line of a bill."""
    return Line(token_class="input_tokens", quantity=1, usd_per_unit=Decimal(usd), amount_usd=Decimal(usd))
