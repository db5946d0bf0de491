"""Health and metrics, asked by load balancers and monitoring without a key."""

from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.testing import TestClient

from app.health import HEALTH_HANDLERS, Metric, write_metrics
from tests.gateway_process import TLS, Gateway


class Readiness:
    def __init__(self, ready: bool) -> None:
        self.ready = ready

    def is_ready(self) -> bool:
        return self.ready


def ask(path: str, method: str = "GET", **state: Any) -> httpx.Response:
    app = Litestar(HEALTH_HANDLERS, openapi_config=None, logging_config=None, state=State(state))
    with TestClient(app) as client:
        return client.request(method, path)


@pytest.mark.parametrize("path", ["/health", "/health/liveness", "/health/liveliness", "/livez"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_process_that_answers_lives(path: str, method: str) -> None:
    """Liveness needs no parts at all, so that a database that is away never gets a process killed."""
    response = ask(path, method)
    assert response.status_code == 200
    assert response.content == (b'{"status":"ok"}' if method == "GET" else b"")


@pytest.mark.parametrize("path", ["/health/readiness", "/readyz"])
def test_readiness_follows_the_database(path: str) -> None:
    """Ready is 200, not ready and not yet started are 503, so that a balancer sends requests elsewhere."""
    assert ask(path, readiness=Readiness(True)).json() == {"status": "ok"}
    refused = ask(path, readiness=Readiness(False))
    assert (refused.status_code, refused.json()) == (503, {"status": "unavailable"})
    assert ask(path).status_code == 503


@pytest.mark.parametrize("path", ["/health", "/readyz", "/metrics"])
def test_a_gateway_that_serves_is_healthy_for_strangers(shared_gateway: Gateway, path: str) -> None:
    """A started gateway is live and ready, tells so without a key, and names neither version nor address."""
    response = httpx.get(shared_gateway.url + path, trust_env=False, verify=TLS)
    assert response.status_code == 200
    assert "postgres" not in response.text
    assert "version" not in response.text


def test_metrics_are_prometheus_text() -> None:
    """Metrics come in version 0.0.4 of the text format."""
    rows: list[Metric] = [("a_total", "Things.", "counter", {"kind": "x"}, 3.0)]
    response = ask("/metrics", metrics=lambda: rows)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text == '# HELP a_total Things.\n# TYPE a_total counter\na_total{kind="x"} 3.0\n'


def test_no_metrics_before_the_start() -> None:
    """Before the parts are there, there is nothing to report, which is no failure."""
    assert ask("/metrics").text == ""


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        (("m", "h", "gauge", {}, 1.5), "m 1.5"),
        (("m", "h", "gauge", {}, float("inf")), "m +Inf"),
        (("m", "h", "gauge", {}, float("-inf")), "m -Inf"),
        (("m", "h", "gauge", {}, float("nan")), "m NaN"),
        (("m", "h", "gauge", {"a": 'x"y\\z\n'}, 1.0), 'm{a="x\\"y\\\\z\\n"} 1.0'),
        (("m", "h", "gauge", {"a": "1", "b": "2"}, 1.0), 'm{a="1",b="2"} 1.0'),
    ],
)
def test_values_and_labels_are_written_as_prometheus_reads_them(metric: Metric, line: str) -> None:
    """Special numbers have their names, and quotes, backslashes and line ends in labels are escaped."""
    assert write_metrics([metric]).splitlines()[-1] == line


def test_help_is_escaped_and_stands_once_a_name() -> None:
    """A metric's lines stand together under one HELP and one TYPE, whatever order they come in."""
    rows: list[Metric] = [
        ("a", "one\nline \\", "gauge", {"n": "1"}, 1.0),
        ("b", "other", "gauge", {}, 2.0),
        ("a", "one\nline \\", "gauge", {"n": "2"}, 3.0),
    ]
    assert write_metrics(rows).splitlines() == [
        "# HELP a one\\nline \\\\",
        "# TYPE a gauge",
        'a{n="1"} 1.0',
        'a{n="2"} 3.0',
        "# HELP b other",
        "# TYPE b gauge",
        "b 2.0",
    ]
