"""A batch with an Idempotency-Key: handed in once, and answered the same when it is sent again."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

from app.access.types import Caller
from app.batch.desk import Desk
from app.batch.intake_store import delete_stalled
from app.batch.own_shape import BatchAccepted, build_accepted
from app.batch.types import KeyTakenError
from app.batch.view_store import count_ahead, find_batch, find_repeated
from app.cache.idempotent import check_key, in_flight, reused


class HashedBody:
    """A body that is read once, and what it was in a few bytes."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._hash = hashlib.sha256()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        async for data in self._body:
            self._hash.update(data)
            yield data

    async def skip(self) -> None:
        """Read what is left."""
        async for _ in self.read():
            pass

    def digest(self) -> bytes:
        """Return what stands for all that was read."""
        return self._hash.digest()


def read_key(value: bytes) -> str | None:
    """Return the key that was sent. Raises BadRequestError for one that cannot be."""
    if not value:
        return None
    key = value.decode("latin-1")
    check_key(key)
    return key


async def repeat_acceptance(taken: KeyTakenError, body: HashedBody, caller: Caller, desk: Desk) -> BatchAccepted:
    """Return what was said of the batch that the key stands for.

    Raises RelayError when the key stands for another one (422), or for one that is being read just now (409).
    """
    await body.skip()
    found = await desk.read(lambda c: find_repeated(c, caller.user_id, taken.key))
    batch = await desk.read(lambda c: find_batch(c, found[0])) if found is not None else None
    if found is None or batch is None or found[1] is None:
        if found is not None:  # the one who sent it may be dead; then the next try finds the key free
            await desk.change(partial(delete_stalled, batch_id=found[0]))
        raise in_flight("")
    if found[1] != body.digest():
        raise reused()
    ahead = await desk.read(lambda c: count_ahead(c, batch.created_at))
    return build_accepted(batch.id, batch.counts.total, ahead, None, datetime.now(UTC))
