"""The document and the page that shows it, served from memory: nothing is fetched from anywhere else."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.params import FromPath

from app.errors import NotFoundError
from app.openapi.config import PUBLIC
from app.openapi.document import build_document

STATIC = Path(__file__).parent / "static"
PAGE = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Whatever a document may say, a browser runs and loads nothing but what lies in STATIC.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
SAFETY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
READING = [HttpMethod.GET, HttpMethod.HEAD]

PageRequest = Request[Any, Any, State]


class Asset(msgspec.Struct, frozen=True):
    """A file as it is served."""

    body: bytes
    media_type: str
    etag: str


def build_asset(body: bytes, media_type: str) -> Asset:
    """Return an asset whose tag changes with its content."""
    return Asset(body, media_type, f'"{sha256(body).hexdigest()[:32]}"')


def load_assets(folder: Path) -> Mapping[str, Asset]:
    """Return the files of `folder` by name; nothing else can be asked for."""
    return {file.name: build_asset(file.read_bytes(), MEDIA_TYPES[file.suffix]) for file in sorted(folder.iterdir())}


ASSETS = load_assets(STATIC)


def get_document(app: Litestar) -> Asset:
    """Return the document of `app`, which is built when it is first asked for."""
    known: Asset | None = app.state.get("openapi_document")
    if known is None:
        known = build_asset(msgspec.json.encode(build_document(app)), MediaType.JSON)
        app.state["openapi_document"] = known
    return known


def answer(request: PageRequest, asset: Asset) -> Response[bytes]:
    """Return `asset`, or 304 to a client that has it already."""
    headers = {**SAFETY, "etag": asset.etag, "cache-control": "no-cache"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or known == ["*"]:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


@route("/openapi.json", http_method=READING, include_in_schema=False, security=PUBLIC, status_code=200)
async def openapi_document(request: PageRequest) -> Response[bytes]:
    """Describe this API in OpenAPI 3.1."""
    return answer(request, get_document(request.app))


@route("/docs", http_method=READING, include_in_schema=False, security=PUBLIC, status_code=200)
async def docs_page(request: PageRequest) -> Response[bytes]:
    """Show the description as a page."""
    return answer(request, ASSETS[PAGE])


@route("/docs/{asset:str}", http_method=READING, include_in_schema=False, security=PUBLIC, status_code=200)
async def docs_asset(request: PageRequest, asset: FromPath[str]) -> Response[bytes]:
    """Return one of the page's own files."""
    found = ASSETS.get(asset)
    if found is None:
        raise NotFoundError("There is nothing at this path.", code="unknown_path")
    return answer(request, found)


DOCS_HANDLERS = [openapi_document, docs_page, docs_asset]
