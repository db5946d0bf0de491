"""From a path to a route, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Dialect
from app.gateway.paths import adapt, find_route, is_control

NAMES = {"openai", "anthropic", "groq", "my.own-one"}
OPEN, ANTHRO = Dialect.OPENAI, Dialect.ANTHROPIC

TABLE = [
    ("/v1/chat/completions", OPEN, None, "chat/completions", "chat"),
    ("/chat/completions", OPEN, None, "chat/completions", "chat"),
    ("/chat/completions/", OPEN, None, "chat/completions", "chat"),
    ("//v1//chat///completions//", OPEN, None, "chat/completions", "chat"),
    ("/v1/v1/chat/completions", OPEN, None, "chat/completions", "chat"),
    ("/v1/openai/chat/completions", OPEN, "openai", "chat/completions", "chat"),
    ("/openai/v1/chat/completions", OPEN, "openai", "chat/completions", "chat"),
    ("/v1/openai/v1/chat/completions", OPEN, "openai", "chat/completions", "chat"),
    ("/v1/my.own-one/embeddings", OPEN, "my.own-one", "embeddings", "embeddings"),
    ("/v1/completions", OPEN, None, "completions", "completions"),
    ("/v1/responses", OPEN, None, "responses", "responses"),
    ("/v1/messages", ANTHRO, None, "messages", "messages"),
    ("/messages", ANTHRO, None, "messages", "messages"),
    ("/anthropic/v1/messages", ANTHRO, "anthropic", "messages", "messages"),
    ("/v1/anthropic/messages", ANTHRO, "anthropic", "messages", "messages"),
    ("/v1/groq/messages", ANTHRO, "groq", "messages", "messages"),
    ("/v1/messages/count_tokens", ANTHRO, None, "messages/count_tokens", "count_tokens"),
    ("/v1/messages/batches", ANTHRO, None, "messages/batches", None),
    ("/v1/messages/batches/b1/results", ANTHRO, None, "messages/batches/b1/results", None),
    ("/v1/models", OPEN, None, "models", None),
    ("/models", OPEN, None, "models", None),
    ("/anthropic/v1/models", ANTHRO, "anthropic", "models", None),
    ("/v1/models/ft%3Agpt%2Fx", OPEN, None, "models/ft%3Agpt%2Fx", None),
    ("/v1/openai/whatever/is/there", OPEN, "openai", "whatever/is/there", None),
    ("/v1/anthropic/skills", ANTHRO, "anthropic", "skills", None),
]


@pytest.mark.parametrize(("path", "dialect", "provider", "rest", "endpoint"), TABLE)
def test_routes(path, dialect, provider, rest, endpoint):
    """Every base URL that a client may be given ends in one route; the dialect follows from the path."""
    route = find_route(path, NAMES)
    assert (route.dialect, route.provider, route.rest) == (dialect, provider, rest)
    assert (route.endpoint.name if route.endpoint else None) == endpoint
    assert route.known


def test_an_unknown_provider_before_an_endpoint():
    """What stands before an endpoint names a provider, also one that is not configured."""
    assert find_route("/v1/nobody/chat/completions", NAMES).provider == "nobody"
    assert find_route("/nobody/v1/messages", NAMES).provider == "nobody"


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v1", "/v1/", "/nothing", "/v2/chat/x", "/v1/..", "/v1/a/../b", "/v1/%2e%2E/x", "/v1/models/a%2f..%2fb",
     "/v1/./models", "/openai", "/v1/openai/", "/favicon.ico", "/v1/openai/../../x"],
)  # fmt: skip
def test_paths_that_are_nobodys(path):
    """A path that names nothing, or climbs however it is written, leads nowhere."""
    assert not find_route(path, NAMES).known


@given(st.text(max_size=60))
def test_any_path_has_a_route(path):
    """No path makes it fail, and none with a climb in it is known."""
    route = find_route(path, NAMES)
    if "/../" in f"/{path}/":
        assert not route.known or ".." not in route.rest.split("/")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/messages/batches", "batches"),
        ("/v1/anthropic/messages/batches/b1/results", "batches"),
        ("/v1/messages", "messages"),
        ("/v1/messages/batchesx", "messages"),
        ("/v1/messages/count_tokens", "count_tokens"),
        ("/v1/batches/b1", "batches"),
        ("/v1/files", "files"),
    ],
)
def test_kinds(path, kind):
    """Batches of either vendor are one kind of traffic to the policies of keys."""
    assert find_route(path, {"anthropic"}).kind == kind


@pytest.mark.parametrize(
    ("path", "version", "dialect"),
    [
        ("/v1/models", b"2023-06-01", ANTHRO),
        ("/v1/models", b"", OPEN),
        ("/v1/files", b"2023-06-01", ANTHRO),
        ("/v1/chat/completions", b"2023-06-01", OPEN),
        ("/v1/openai/models", b"2023-06-01", OPEN),
        ("/v1/messages", b"", ANTHRO),
    ],
)
def test_the_version_header_tells_where_the_path_does_not(path, version, dialect):
    """`anthropic-version` decides only on paths that both vendors have."""
    assert adapt(find_route(path, NAMES), version).dialect is dialect


@pytest.mark.parametrize(
    ("path", "control"),
    [
        ("/admin/users", True),
        ("//admin", True),
        ("/v1/cache/stats", True),
        ("/v1/config", True),
        ("/v1/batch", True),
        ("/v1/batches", False),
        ("/health", True),
        ("/docs/x", True),
        ("/", False),
        ("/v1/chat/completions", False),
        ("/administrator", False),
    ],
)
def test_what_is_control(path, control):
    """The control API's first words are its own; nothing else is."""
    assert is_control(path) is control
