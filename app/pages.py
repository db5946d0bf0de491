"""Pages of our own, served from memory: a browser that shows one loads the gateway's own files and nothing else."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from app.errors import NotFoundError

PAGE = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Whatever a page is told to show, a browser runs and loads nothing but what the gateway serves.
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


def answer(request: PageRequest, asset: Asset) -> Response[bytes]:
    """Return `asset`, or 304 to a client that has it already."""
    headers = {**SAFETY, "etag": asset.etag, "cache-control": "no-cache"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or known == ["*"]:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


def serve_page(path: str, assets: Mapping[str, Asset]) -> list[HTTPRouteHandler]:
    """Return the handlers of a page at `path` and of its files below it. Anybody may read them: they hold no data."""

    @route(path, http_method=READING, include_in_schema=False, status_code=200)
    async def page(request: PageRequest) -> Response[bytes]:
        return answer(request, assets[PAGE])

    @route(f"{path}/{{asset:str}}", http_method=READING, include_in_schema=False, status_code=200)
    async def file_of_page(request: PageRequest, asset: FromPath[str]) -> Response[bytes]:
        found = assets.get(asset)
        if found is None:
            raise NotFoundError("There is nothing at this path.", code="unknown_path")
        return answer(request, found)

    return [page, file_of_page]
