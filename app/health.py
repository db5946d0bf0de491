"""Whether this process lives and can serve, and what it counts: for load balancers and monitoring, without a key."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

import msgspec
from litestar import Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec

LIVE = ["/health", "/health/liveness", "/health/liveliness", "/livez"]
READY = ["/health/readiness", "/readyz"]
PROMETHEUS = "text/plain; version=0.0.4"
TAGS = ["Health"]
PUBLIC: list[dict[str, list[str]]] = [{}]
READING = [HttpMethod.GET, HttpMethod.HEAD]

Metric = tuple[str, str, str, Mapping[str, str], float]
"""(name, help, type, labels, value)"""


class Readiness(Protocol):
    """What the composition root keeps as `app.state.readiness`."""

    def is_ready(self) -> bool:
        """Return whether the database was reached a moment ago and the snapshots are loaded."""
        ...


class Health(msgspec.Struct, frozen=True):
    """The state of this process, and nothing else about it."""

    status: Literal["ok", "unavailable"]


OK = Health("ok")
UNAVAILABLE = Health("unavailable")
NOT_READY = ResponseSpec(Health, generate_examples=False, description="Send this process nothing for now.")


def is_ready(state: State) -> bool:
    """Return whether this process should be sent requests; before it has started, it should not."""
    readiness: Readiness | None = state.get("readiness")
    return readiness is not None and readiness.is_ready()


def write_metrics(metrics: Iterable[Metric]) -> str:
    """Return metrics in Prometheus' text format: one group a name, whatever order they come in."""
    groups: dict[str, list[str]] = {}
    for name, help_text, kind, labels, value in metrics:
        lines = groups.setdefault(name, [f"# HELP {name} {_escape_help(help_text)}", f"# TYPE {name} {kind}"])
        lines.append(f"{name}{_write_labels(labels)} {_write_value(value)}")
    return "".join(f"{line}\n" for lines in groups.values() for line in lines)


def _write_labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _write_value(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_label(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')


@route(
    LIVE,
    http_method=READING,
    tags=TAGS,
    security=PUBLIC,
    status_code=200,
    response_description="It lives.",
)
async def liveness() -> Health:
    """Say that this process lives.

    Nothing is looked up.
    """
    return OK


@route(
    READY,
    http_method=READING,
    tags=TAGS,
    security=PUBLIC,
    status_code=200,
    response_description="It can serve.",
    responses={503: NOT_READY},
)
async def readiness(state: State) -> Response[Health]:
    """Say whether this process can serve: its database was reached a moment ago and the schema is loaded."""
    ready = is_ready(state)
    return Response(OK if ready else UNAVAILABLE, status_code=200 if ready else 503)


@route(
    "/metrics",
    http_method=READING,
    tags=TAGS,
    security=PUBLIC,
    status_code=200,
    response_description="The metrics.",
    media_type=PROMETHEUS,
)
async def metrics(state: State) -> Response[str]:
    """Return what this process counts, in Prometheus' text format."""
    count: Callable[[], Iterable[Metric]] | None = state.get("metrics")
    return Response(write_metrics(count() if count is not None else ()), media_type=PROMETHEUS)


HEALTH_HANDLERS = [liveness, readiness, metrics]
