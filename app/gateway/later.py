"""What the gateway hands on to those who see to calls for later: batches, their files, and calls that can wait."""

import re
from typing import Protocol

from litestar.types import HTTPScope

from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.options import Sent

_ASYNC = re.compile(rb"(?:^|[,;\s])respond-async(?:$|[,;\s])", re.IGNORECASE)


class Later(Protocol):
    """Sees to calls that are not answered by a provider now."""

    async def answer(self, call: Call, scope: HTTPScope, exchange: Exchange) -> bool:
        """Answer a call about batches or their files; False when it is none, or is about something of a provider's.

        Then nothing was sent and nothing taken in.
        """
        ...

    async def defer(self, call: Call, scope: HTTPScope, exchange: Exchange) -> None:
        """Accept a call that is to be answered later, and tell the client where."""
        ...


def may_wait(sent: Sent) -> bool:
    """Return whether the client wants the answer to be fetched later (`Prefer: respond-async`, RFC 7240)."""
    return bool(sent.prefer) and _ASYNC.search(sent.prefer) is not None
