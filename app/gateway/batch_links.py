"""Where a message batch says that its results are: an address clients follow, so it is led through the gateway."""

import re
from typing import cast

from litestar.types import HTTPScope

from app.gateway.paths import Route
from app.wire.http import Headers

BATCHES = "messages/batches"
_RESULTS_URL = re.compile(rb'("results_url"[ \t\r\n]*:[ \t\r\n]*")[^"]*?/(messages/batches/[^"]*")')


def find_base(scope: HTTPScope) -> bytes:
    """Return the address that the client called, up to where the provider's own path begins."""
    host = next((value for name, value in cast(Headers, scope["headers"]) if name == b"host"), b"localhost")
    prefix, found, _ = (scope["raw_path"] or scope["path"].encode()).partition(b"/messages/batches")
    return b"%b://%b%b" % (scope["scheme"].encode(), host, prefix if found else b"/v1")


def has_results_url(route: Route) -> bool:
    """Return whether the answers of this path say where results are."""
    return route.rest.startswith(BATCHES) and not route.rest.endswith("/results")


def lead_results(body: bytes, base: bytes) -> bytes:
    """Return a batch, or a list of them, with its results at the gateway; every other byte stays."""
    return _RESULTS_URL.sub(lambda found: found[1] + base + b"/" + found[2], body)
