"""Which of the headers that a client sent is its gateway key."""

from collections.abc import Iterable


def choose_credential(relay_key: bytes, authorization: bytes, others: Iterable[bytes]) -> str | None:
    """Return the gateway key: our own header first, then a Bearer token, then the others in the order given."""
    if relay_key:
        return relay_key.decode("latin-1").strip() or None
    bearer = find_bearer(authorization)
    if bearer is not None:
        return bearer
    other = next((value for value in others if value), b"")
    return other.decode("latin-1").strip() or None


def find_bearer(authorization: bytes) -> str | None:
    """Return the token of a Bearer credential."""
    scheme, _, token = authorization.decode("latin-1").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def find_credential(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the gateway key among header lines with lower-case names."""
    first: dict[bytes, bytes] = {}
    for name, value in headers:
        first.setdefault(name, value)
    others = (first.get(name, b"") for name in (b"x-api-key", b"api-key", b"x-goog-api-key"))
    return choose_credential(first.get(b"x-relay-api-key", b""), first.get(b"authorization", b""), others)
