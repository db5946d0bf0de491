"""The document and the page that shows it, served from memory: nothing is fetched from anywhere else."""

from pathlib import Path

import msgspec
from litestar import Litestar, MediaType, Response, route

from app.openapi.config import PUBLIC
from app.openapi.document import build_document
from app.pages import READING, Asset, PageRequest, answer, build_asset, load_assets, serve_page

STATIC = Path(__file__).parent / "static"
ASSETS = load_assets(STATIC)


def get_document(app: Litestar) -> Asset:
    """Return the document of `app`, which is built when it is first asked for."""
    known: Asset | None = app.state.get("openapi_document")
    if known is None:
        known = build_asset(msgspec.json.encode(build_document(app)), MediaType.JSON)
        app.state["openapi_document"] = known
    return known


@route("/openapi.json", http_method=READING, include_in_schema=False, security=PUBLIC, status_code=200)
async def openapi_document(request: PageRequest) -> Response[bytes]:
    """Describe this API in OpenAPI 3.1."""
    return answer(request, get_document(request.app))


DOCS_HANDLERS = [openapi_document, *serve_page("/docs", ASSETS)]
