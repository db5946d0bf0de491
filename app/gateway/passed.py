"""Headers of a client that are meant for its provider, kept for a call that is made later."""

import msgspec

from app.gateway.options import Options, Passed, Sent
from app.wire.http import Headers

_NAMES = {name: name.replace("_", "-").encode() for name in Passed.__struct_fields__}


def keep_passed(options: Options, sent: Sent) -> Options:
    """Return what a client asks of the gateway, together with what it says to its provider."""
    found = {name: getattr(sent, name).decode("latin-1") for name in _NAMES}
    return msgspec.structs.replace(options, passed=Passed(**found)) if any(found.values()) else options


def list_passed(passed: Passed) -> Headers:
    """Return the header lines that go up with a call."""
    return [(line, getattr(passed, name).encode("latin-1")) for name, line in _NAMES.items() if getattr(passed, name)]


def build_sent(passed: Passed) -> Sent:
    """Return what the client of a call sent that is made in its name."""
    sent = Sent(content_type=b"application/json")
    for name in _NAMES:
        setattr(sent, name, getattr(passed, name).encode("latin-1"))
    return sent
