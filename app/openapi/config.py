"""How the OpenAPI document introduces itself, and how callers prove who they are."""

from litestar import Router
from litestar.enums import HttpMethod
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler, Method
from litestar.types.internal_types import PathParameterDefinition

# The version of the interface: strangers may read the document, and need not learn which release answers.
API_VERSION = "1.0.0"

DESCRIPTION = """\
A self-hosted gateway in front of many model providers. Point an unchanged OpenAI client at `/v1` and an unchanged
Anthropic client at `/`, with a key of this gateway.

Model traffic speaks the provider's own API: bodies go up and answers come back byte by byte, unknown fields included.
Paths of a provider that are not listed here pass through as well. Every model path also works below a provider's name,
`/v1/{provider}/…` or `/{provider}/…`, with that provider's own model names.
"""

PUBLIC: list[dict[str, list[str]]] = [{}]
"""The `security` of a route that strangers may call."""

SECURITY_SCHEMES: dict[str, SecurityScheme | Reference] = {
    "bearer": SecurityScheme(
        type="http", scheme="bearer", description="`Authorization: Bearer rk-…`, as OpenAI's SDK."
    ),
    "xApiKey": SecurityScheme(
        type="apiKey", name="x-api-key", security_scheme_in="header", description="As Anthropic's."
    ),
    "xRelayApiKey": SecurityScheme(
        type="apiKey",
        name="x-relay-api-key",
        security_scheme_in="header",
        description="Wins over the others, which then may carry your own key for the provider.",
    ),
}


def build_operation_id(_: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]) -> str:
    """Return the id of an operation: `getV1ConfigProvidersByName`. Method and path make it unique."""
    words = [HttpMethod(method).value.lower()]
    for part in path:
        name = part if isinstance(part, str) else f"by_{part.name}"
        words += [word.capitalize() for word in name.replace("-", "_").replace(".", "_").split("_")]
    return "".join(words)


class _NoRoutes(Router):
    """The router for the framework's own pages of the document, which takes none: ours are the only ones."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        """Register nothing."""
        del value
        return []


OPENAPI = OpenAPIConfig(
    title="RelayCore",
    version=API_VERSION,
    description=DESCRIPTION,
    components=Components(security_schemes=SECURITY_SCHEMES),
    security=[{name: []} for name in SECURITY_SCHEMES],
    use_handler_docstrings=True,
    operation_id_creator=build_operation_id,
    openapi_router=_NoRoutes("/schema", route_handlers=[]),
)
