"""Tool call ids that Anthropic's API takes: letters, digits, "_" and "-"; any other id is mapped, reversibly."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_PREFIX = "relay_"
_ACCEPTED = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)


def write_id(identifier: str) -> str:
    """Return the id as Anthropic takes it: itself where that is possible."""
    if _ACCEPTED.fullmatch(identifier) and not identifier.startswith(_PREFIX):
        return identifier
    return _PREFIX + urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


def read_id(identifier: str) -> str:
    """Return the id that `write_id` was given."""
    coded = identifier.removeprefix(_PREFIX)
    if coded == identifier:
        return identifier
    try:
        plain = urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except ValueError:
        return identifier
    return plain if write_id(plain) == identifier else identifier
