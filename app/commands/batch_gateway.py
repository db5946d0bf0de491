"""A gateway as `relaycore batch` talks to it: over HTTP, with failures in one line."""

import json
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import click
import httpx

from app.settings import Access

TIMEOUT = httpx.Timeout(60.0, connect=10.0, write=60.0)
PATIENCE_SECONDS = 60.0
"""How long a gateway may be away while somebody waits for a batch."""

AWAY = frozenset({429, 502, 503, 504})
OVER = frozenset({"completed", "failed", "cancelled"})
RESULT = b',"result":'
NO_KEY = "Set RELAYCORE_API_KEY to an API key of the gateway, or name a file that holds one with --key-file."
NO_URL = "--url takes an http:// or https:// address, such as http://127.0.0.1:4000."
UNREACHABLE = "The gateway at {url} cannot be reached: is it running? (--url or RELAYCORE_URL says where it is.)"
BROKEN = "What {url} answered is nothing that a gateway says."
WINDOW = "24h"


class AwayError(click.ClickException):
    """The gateway does not answer just now."""


class RefusedError(click.ClickException):
    """The gateway refused something; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BatchGateway:
    """The calls that are made about batches."""

    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise click.UsageError(NO_URL)
        if access.api_key is None:
            raise click.UsageError(NO_KEY)
        if not (access.api_key.isascii() and access.api_key.isprintable()):
            raise click.UsageError("The API key is no line of plain characters.")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._client = httpx.Client(
            base_url=access.url.rstrip("/"),
            headers={"authorization": f"Bearer {access.api_key}", "user-agent": "RelayCore"},
            timeout=TIMEOUT,
            trust_env=parts.hostname not in {"127.0.0.1", "::1", "localhost"},
        )

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def submit(self, body: Iterable[bytes]) -> dict[str, Any]:
        """Hand in a batch in our own words, as its body comes."""
        return self._ask("POST", "/v1/batch", content=body, headers={"content-type": "application/json"})

    def upload(self, body: Iterable[bytes], boundary: str) -> str:
        """Upload a file of requests and return its id."""
        kind = f"multipart/form-data; boundary={boundary}"
        return str(self._ask("POST", "/v1/files", content=body, headers={"content-type": kind}).get("id"))

    def create(self, file_id: str, endpoint: str, deadline: str | None) -> dict[str, Any]:
        """Have the requests in an uploaded file worked off."""
        said = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": WINDOW}
        headers = {} if deadline is None else {"x-relay-deadline": deadline}
        return self._ask("POST", "/v1/batches", json=said, headers=headers)

    def read(self, batch_id: str) -> dict[str, Any]:
        """Return a batch as it stands, without its results, which stand behind everything else."""
        with self._stream("GET", f"/v1/batch/{find_uuid(batch_id)}") as response:
            text = b""
            for piece in response.iter_bytes():
                text += piece
                if (found := find_view(text)) is not None:
                    return found
        raise click.ClickException(BROKEN.format(url=self.url))

    def read_patiently(self, batch_id: str) -> dict[str, Any]:
        """Return a batch as it stands; a gateway that is away for a moment is waited for."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.read(batch_id)
            except AwayError:
                if time.monotonic() >= until:
                    raise
                time.sleep(1)

    def list_batches(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest batches."""
        return list(self._ask("GET", "/v1/batch", params={"limit": limit}).get("batches", []))

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """Cancel a batch and return it."""
        return self._ask("DELETE", f"/v1/batch/{find_uuid(batch_id)}")

    def stream_results(self, batch_id: str) -> Iterator[bytes]:
        """Yield the results of a batch as lines: in the shape that its requests came in."""
        if not batch_id.startswith("batch_"):
            yield from self._stream_bytes(f"/v1/batch/{batch_id}/results")
            return
        found = self._ask("GET", f"/v1/batches/{batch_id}")
        for name in ("output_file_id", "error_file_id"):
            if found.get(name):
                yield from self._stream_bytes(f"/v1/files/{found[name]}/content")

    def _stream_bytes(self, path: str) -> Iterator[bytes]:
        with self._stream("GET", path) as response:
            yield from response.iter_bytes()

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with self._stream(method, path, **options) as response:
            try:
                found: Any = json.loads(response.read())
            except ValueError as error:
                raise click.ClickException(BROKEN.format(url=self.url)) from error
        if not isinstance(found, dict):
            raise click.ClickException(BROKEN.format(url=self.url))
        return cast(dict[str, Any], found)

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Generator[httpx.Response]:
        try:
            with self._client.stream(method, path, **options) as response:
                if not response.is_success:
                    raise build_refusal(response)
                yield response
        except httpx.ConnectError as error:
            raise AwayError(UNREACHABLE.format(url=self.url)) from error
        except httpx.HTTPError as error:
            raise AwayError(f"The connection to {self.url} broke off ({type(error).__name__}).") from error


def build_refusal(response: httpx.Response) -> click.ClickException:
    """Return what a refusal says, in one line."""
    try:
        said: Any = json.loads(response.read())
        message = " ".join(str(said["error"]["message"]).split())
    except (ValueError, KeyError, TypeError):
        message = "it gives no reason."
    text = f"The gateway refuses this ({response.status_code}): {message}"
    return AwayError(text) if response.status_code in AWAY else RefusedError(text, response.status_code)


def find_view(text: bytes) -> dict[str, Any] | None:
    """Return a batch of which so much has come that only its results are missing; None before."""
    end = text.find(RESULT)
    while end >= 0:
        try:
            found: Any = json.loads(text[:end] + b"}")
        except ValueError:
            end = text.find(RESULT, end + 1)  # it stands within something that the batch's owner wrote
            continue
        return cast(dict[str, Any], found) if isinstance(found, dict) else None
    return None


def find_uuid(batch_id: str) -> UUID:
    """Return the id by which a batch of any shape is known."""
    try:
        return UUID(batch_id.removeprefix("batch_"))
    except ValueError as error:
        raise click.UsageError(f"{batch_id[:80]!r} is no id of a batch, and no file that was submitted.") from error
