"""Where the results of a batch are said to be."""

import pytest

from app.gateway.batch_links import find_base, has_results_url, lead_results
from app.gateway.paths import find_route

BASE = b"http://gateway:4000/anthropic/v1"


@pytest.mark.parametrize(
    ("body", "led"),
    [
        (
            b'{"id":"b", "results_url" : "https://api.anthropic.com/v1/messages/batches/b/results","n":1.10}',
            b'{"id":"b", "results_url" : "http://gateway:4000/anthropic/v1/messages/batches/b/results","n":1.10}',
        ),
        (b'{"results_url":null}', b'{"results_url":null}'),
        (b'{"results_url":"https://elsewhere.example.org/x"}', b'{"results_url":"https://elsewhere.example.org/x"}'),
        (b"not json", b"not json"),
        (
            b'{"data":[{"results_url":"http://a/v1/messages/batches/1/results"},{"results_url":"http://a/messages/batches/2/r"}]}',
            b'{"data":[{"results_url":"%b/messages/batches/1/results"},{"results_url":"%b/messages/batches/2/r"}]}'
            % (BASE, BASE),
        ),
    ],
)
def test_results_are_led_through_the_gateway(body, led):
    """Only the address of the results changes, in one batch and in a list; every other byte stays."""
    assert lead_results(body, BASE) == led


@pytest.mark.parametrize(
    ("path", "has"),
    [
        ("/v1/messages/batches", True),
        ("/v1/anthropic/messages/batches/b1", True),
        ("/v1/messages/batches/b1/cancel", True),
        ("/v1/messages/batches/b1/results", False),
        ("/v1/batches/b1", False),
        ("/v1/messages", False),
    ],
)
def test_which_paths_say_where_results_are(path, has):
    """Batches say it; the results themselves, which may be large, are not looked into."""
    assert has_results_url(find_route(path, {"anthropic"})) is has


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/v1/messages/batches/b1", b"https://relay.example.org/v1"),
        ("/anthropic/v1/messages/batches", b"https://relay.example.org/anthropic/v1"),
        ("/elsewhere", b"https://relay.example.org/v1"),
    ],
)
def test_the_clients_own_address(path, base):
    """The base is what the client called, provider and version included."""
    scope = {"scheme": "https", "raw_path": path.encode(), "headers": [(b"host", b"relay.example.org")]}
    assert find_base(scope) == base
