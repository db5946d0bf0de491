"""What makes two calls the same: a SHA-256 over everything that can change the answer.

Hashed are, each with its length before it so that no two different lists run into the same bytes: a version, the scope,
the provider, the endpoint, the headers that change what a provider answers, and the body in canonical form (object
keys sorted, white space gone, numbers as written). Left out are only the fields that say how the answer is sent.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import cast

import msgspec

from app.wire.digest import hash_parts

VERSION = b"relaycore exact 2"
IGNORED_FIELDS = ("stream", "stream_options")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def build_key(scope: bytes, provider: str, endpoint: str, headers: Iterable[bytes], body: bytes) -> bytes:
    """Return the 32 bytes under which the answer to a call is kept; `body` is known to be a JSON object.

    `scope` names who may share the answer; `headers` are the values of the headers that matter, in a fixed order.
    """
    document = cast(dict[str, object], _decode(body))
    for field in IGNORED_FIELDS:
        document.pop(field, None)
    return hash_parts((VERSION, scope, provider.encode(), endpoint.encode(), *headers, _encode(document)))
