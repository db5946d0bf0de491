"""Which of the vendor's batches is one of ours that nobody knows to have reached it."""

from collections.abc import Sequence
from functools import partial

from app.batch.native.store import list_known
from app.batch.native.types import NativeBatch, Run
from app.providers.batches import Remote

SKEW_SECONDS = 120.0
"""How far the vendor's clock may be from ours."""


async def recognize(recent: Sequence[Remote], native: NativeBatch, run: Run) -> Remote | None:
    """Return which of the vendor's batches is this one: the one with its mark, else one that can be no other."""
    marked = next((one for one in recent if one.mark == str(native.id)), None)
    if marked is not None or native.protocol != "anthropic":
        return marked
    since = native.now - native.age_seconds - SKEW_SECONDS
    alike = [one for one in recent if one.total == native.requests and (one.created or 0.0) >= since]
    known = await run(partial(list_known, remote_ids=[one.id for one in alike], native=native))
    return next((one for one in reversed(alike) if one.id not in known), None)
