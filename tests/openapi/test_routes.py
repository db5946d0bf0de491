"""The document and its page over HTTP: for strangers, from this machine alone."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from app.openapi.routes import ASSETS, STATIC
from tests.gateway_process import Gateway

HANDLERS = re.compile(r"\son\w+\s*=|javascript:", re.IGNORECASE)


@pytest.fixture(scope="module")
def stranger(shared_gateway: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=shared_gateway.url, trust_env=False) as client:
        yield client


class Page(HTMLParser):
    """Collects what a page refers to and what it brings along itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.references += [value for name, value in attrs if name in {"src", "href"} and value]
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"} and data.strip():
            self.inline.append(data)


def test_the_page_refers_only_to_what_is_here(stranger: httpx.Client) -> None:
    """Every script, style and image of the page is served by the gateway itself, and nothing else is named."""
    page = stranger.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = [name for name in Page(page.text).references if not name.startswith("#")]
    assert references
    for reference in references:
        assert re.match(r"/[^/]", reference), reference
        assert stranger.get(reference).status_code == 200


def test_nothing_runs_but_files(stranger: httpx.Client) -> None:
    """The page has no inline script or style, and the policy forbids what is not one of the gateway's files."""
    page = stranger.get("/docs")
    assert not Page(page.text).inline
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_the_assets_name_no_other_host(stranger: httpx.Client, name: str) -> None:
    """No file of the page refers to another host, and each has its media type."""
    response = stranger.get(f"/docs/{name}")
    assert response.status_code == 200
    text = response.text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|[\"'(]//", text)
    assert response.headers["content-type"].split(";")[0] in {
        "text/html",
        "text/css",
        "text/javascript",
        "image/svg+xml",
    }


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.glob("*.js")))
def test_scripts_import_only_each_other(name: str) -> None:
    """What a script imports is a file beside it, and none makes markup or code of text or keeps a key."""
    text = (STATIC / name).read_text()
    imported = re.findall(r'from "([^"]+)"', text)
    assert all((STATIC / target.removeprefix("./")).is_file() for target in imported)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|Function\(|localStorage|sessionStorage|cookie", text
    )


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/openapi.json", "/docs/viewer.js"])
def test_head_says_what_get_would(stranger: httpx.Client, path: str) -> None:
    """HEAD has the headers of GET and no body."""
    got, asked = stranger.get(path), stranger.head(path)
    assert asked.status_code == 200
    assert asked.content == b""
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert asked.headers[name] == got.headers[name]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/viewer.css"])
def test_what_is_known_is_not_sent_again(stranger: httpx.Client, path: str) -> None:
    """A client that has the present version gets 304; one with another gets it anew."""
    tag = stranger.get(path).headers["etag"]
    assert stranger.get(path, headers={"if-none-match": f'"other", W/{tag}'}).status_code == 304
    assert stranger.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_the_document_is_json_for_strangers(stranger: httpx.Client) -> None:
    """The document needs no key and says nothing that only users of the gateway may know."""
    response = stranger.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["info"]["title"] == "RelayCore"


@pytest.mark.parametrize("path", ["/docs/none.js", "/docs/..%2froutes.py", "/docs/%2e%2e/routes.py", "/docs/static"])
def test_only_the_files_of_the_page_can_be_had(shared_gateway: Gateway, path: str) -> None:
    """A name that is no asset is 404, however it is written."""
    with shared_gateway.client() as client:
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", "/schema/swagger"])
def test_the_frameworks_own_pages_are_off(shared_gateway: Gateway, path: str) -> None:
    """There is one documentation page, ours."""
    with shared_gateway.client() as client:
        assert client.get(path).status_code == 404
