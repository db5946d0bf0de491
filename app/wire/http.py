"""HTTP as plain values: header lists and a whole reply."""

import msgspec

Headers = list[tuple[bytes, bytes]]
"""Header lines in the order they came, names in lower case (the ASGI form)."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer that is ready to be sent to a client."""

    status: int
    headers: Headers
    body: bytes
