"""Which endpoint of which provider a path means. Every base URL that clients are given ends in the same route."""

from collections.abc import Container
from urllib.parse import unquote

import msgspec

from app.errors import Dialect
from app.providers.endpoints import ENDPOINTS
from app.providers.protocol import Endpoint

MESSAGES = "messages"
MESSAGE_BATCHES = "messages/batches/"

_BY_PATH = {endpoint.path.removeprefix("/v1").strip("/"): endpoint for endpoint in ENDPOINTS.values()}

CONTROL = frozenset({"admin", "docs", "openapi.json", "health", "livez", "readyz", "metrics", "dashboard"})
CONTROL_V1 = frozenset({"batch", "cache", "config", "analytics"})
# What providers have below their base URL, for clients whose base URL lacks the version.
NATIVE_ROOTS = frozenset(
    {"models", "files", "batches", "responses", "chat", "messages", "images", "audio", "moderations", "uploads"}
)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a path leads: `rest` is what follows the provider and version, percent-encoded as it came.

    `endpoint` is None for a path that we pass through without reading it; `provider` is None on the unified address,
    where the model's name decides. `known` is False for a path that is nobody's.
    """

    dialect: Dialect
    provider: str | None
    rest: str
    endpoint: Endpoint | None
    known: bool

    @property
    def kind(self) -> str:
        """The name that the policy of its traffic goes by: batches of any dialect have the same."""
        return "batches" if f"{self.rest}/".startswith(MESSAGE_BATCHES) else self.name

    @property
    def name(self) -> str:
        """The name of the endpoint for records and keys."""
        return self.endpoint.name if self.endpoint is not None else self.rest.partition("/")[0] or "root"


def is_control(path: str) -> bool:
    """Return whether `path` belongs to the control API and its pages rather than to model traffic."""
    first, _, rest = path.lstrip("/").partition("/")
    if first == "v1":
        return rest.partition("/")[0] in CONTROL_V1
    return first in CONTROL


def is_models(route: Route) -> bool:
    """Return whether a path is the unified list of models or one entry of it."""
    return route.provider is None and route.rest.partition("/")[0] == "models"


def find_route(raw_path: str, providers: Container[str]) -> Route:
    """Return the route of a percent-encoded path; `providers` are the names that may stand in it."""
    segments = [segment for segment in raw_path.split("/") if segment]
    bare = _without_version(segments)
    versioned = len(bare) < len(segments)
    provider = None
    if bare and (bare[0] in providers or (_is_model_path(bare[1:]) and not _is_model_path(bare))):
        provider = bare[0]
        bare = _without_version(bare[1:])
    rest = "/".join(bare)
    endpoint = _BY_PATH.get(rest)
    ours = endpoint is not None or provider is not None or versioned or (bool(bare) and bare[0] in NATIVE_ROOTS)
    return Route(
        dialect=_dialect(provider, rest, endpoint),
        provider=provider,
        rest=rest,
        endpoint=endpoint,
        known=ours and bool(rest) and not _climbs(bare),
    )


def adapt(route: Route, anthropic_version: bytes) -> Route:
    """Return the route with the dialect that the client speaks, where the path alone does not tell.

    Both vendors have `/v1/models` and `/v1/files`; only Anthropic's clients send a version.
    """
    if anthropic_version and route.endpoint is None and route.provider is None:
        return msgspec.structs.replace(route, dialect=Dialect.ANTHROPIC)
    return route


def _is_model_path(segments: list[str]) -> bool:
    """Return whether what follows is an endpoint that we know: what stands before it then names a provider."""
    return "/".join(_without_version(segments)) in _BY_PATH


def _climbs(segments: list[str]) -> bool:
    """Return whether a path has `.` or `..` in it, however they are written."""
    return any(part in {".", ".."} for segment in segments for part in unquote(segment).split("/"))


def _without_version(segments: list[str]) -> list[str]:
    while segments and segments[0] == "v1":
        segments = segments[1:]
    return segments


def _dialect(provider: str | None, rest: str, endpoint: Endpoint | None) -> Dialect:
    if endpoint is not None:
        return endpoint.dialect
    anthropic = provider == "anthropic" or rest.partition("/")[0] == MESSAGES
    return Dialect.ANTHROPIC if anthropic else Dialect.OPENAI
