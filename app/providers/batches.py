"""The vendors' own batches: what they take, how they are asked and what they answer. No I/O."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from app.errors import Dialect
from app.providers.anthropic_batches import read_anthropic_batch, read_anthropic_batches, read_anthropic_result
from app.providers.batch_answers import Remote, RemoteResult, build_custom_id, compact, read_custom_id
from app.providers.openai_batches import read_file_id, read_openai_batch, read_openai_batches, read_openai_result

__all__ = [
    "ANTHROPIC_BATCHES",
    "BATCH_PROTOCOLS",
    "OPENAI_BATCHES",
    "BatchProtocol",
    "Envelope",
    "LineReader",
    "Remote",
    "RemoteResult",
    "Verdict",
    "build_create_body",
    "build_custom_id",
    "judge_status",
    "list_leftovers",
    "list_result_paths",
    "read_custom_id",
    "read_file_id",
]

BOUNDARY = "relaycore-7d1f0b6a5c9e4f0c"
"""Between the parts of an upload. Lines are JSON without raw newlines, so that nothing in them can look like it."""

WINDOW = "24h"
MARK = "relaycore_batch"
"""Under which name a batch's metadata has its id with us, where a vendor keeps metadata."""

Verdict = Literal["good", "gone", "refused", "again"]
_FORGIVEN = frozenset({408, 409, 425, 429})
_GONE = frozenset({404, 405, 410, 501})

_encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around the requests of a batch where they are sent."""

    content_type: bytes
    head: bytes
    between: bytes
    tail: bytes


class BatchProtocol(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of batch API. `endpoints` are the names of those whose bodies it takes as they are.

    Paths are relative to the provider's base URL of the dialect. With a `files_path` the requests are uploaded there
    before a batch is created of them; else they are in the body that creates it. `write_request(custom_id, path, body)`
    returns one request; the `read_` functions never raise, and return None for what they cannot read.
    """

    name: str
    dialect: Dialect
    endpoints: frozenset[str]
    max_requests: int
    max_bytes: int
    batches_path: str
    files_path: str | None
    envelope: Envelope
    write_request: Callable[[str, str, bytes], bytes]
    read_batch: Callable[[bytes], Remote | None]
    read_batches: Callable[[bytes], list[Remote]]
    read_result: Callable[[bytes], RemoteResult | None]


class LineReader:
    """Takes the lines out of a file that comes in pieces; one that is too long is left out."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that `data` completes, the empty ones left out."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line, skipped = bytes(self._rest) + end, self._skipping
            self._rest.clear()
            self._skipping = False
            if line.strip() and not skipped and len(line) <= self._max:
                yield line
        self._keep(rest)

    def close(self) -> Iterator[bytes]:
        """Yield the last line, where no newline ended it."""
        yield from self.feed(b"\n")

    def _keep(self, rest: bytes) -> None:
        if not self._skipping:
            self._rest += rest
            self._skipping = len(self._rest) > self._max
        if self._skipping:
            self._rest.clear()


def judge_status(status: int) -> Verdict:
    """Return what the status of an answer about batches means: "again" when the same may be answered later."""
    if 200 <= status < 300:
        return "good"
    if status in _GONE:
        return "gone"
    return "again" if status in _FORGIVEN or status >= 500 else "refused"


def build_create_body(file_id: str, path: str, mark: str) -> bytes:
    """Return the body that creates a batch at OpenAI out of an uploaded file."""
    return _encode({"input_file_id": file_id, "endpoint": path, "completion_window": WINDOW, "metadata": {MARK: mark}})


def list_result_paths(protocol: BatchProtocol, remote_id: str, files: Sequence[str]) -> list[str]:
    """Return the paths of a batch's results: always at the provider's own address, whatever its answers point to."""
    if protocol.files_path is None:
        return [f"{protocol.batches_path}/{remote_id}/results"]
    return [f"{protocol.files_path}/{file}/content" for file in files]


def list_leftovers(protocol: BatchProtocol, remote_id: str, files: Sequence[str]) -> list[str]:
    """Return the paths of what is to be deleted once the results of a batch are read."""
    if protocol.files_path is None:
        return [f"{protocol.batches_path}/{remote_id}"]
    return [f"{protocol.files_path}/{file}" for file in files]


def _write_openai(custom_id: str, path: str, body: bytes) -> bytes:
    request = {"custom_id": custom_id, "method": "POST", "url": path, "body": msgspec.Raw(compact(body))}
    return _encode(request)


def _write_anthropic(custom_id: str, path: str, body: bytes) -> bytes:
    del path  # there is only one
    return _encode({"custom_id": custom_id, "params": msgspec.Raw(compact(body))})


_FORM_HEAD = (
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="relaycore.jsonl"\r\n'
    "content-type: application/jsonl\r\n\r\n"
).encode()

OPENAI_BATCHES = BatchProtocol(
    name="openai",
    dialect=Dialect.OPENAI,
    endpoints=frozenset({"chat", "completions", "embeddings", "responses"}),
    max_requests=50_000,
    max_bytes=200 * 10**6,
    batches_path="/batches",
    files_path="/files",
    envelope=Envelope(
        content_type=f"multipart/form-data; boundary={BOUNDARY}".encode(),
        head=_FORM_HEAD,
        between=b"\n",
        tail=f"\n\r\n--{BOUNDARY}--\r\n".encode(),
    ),
    write_request=_write_openai,
    read_batch=read_openai_batch,
    read_batches=read_openai_batches,
    read_result=read_openai_result,
)
ANTHROPIC_BATCHES = BatchProtocol(
    name="anthropic",
    dialect=Dialect.ANTHROPIC,
    endpoints=frozenset({"messages"}),
    max_requests=100_000,
    max_bytes=256 * 10**6,
    batches_path="/v1/messages/batches",
    files_path=None,
    envelope=Envelope(content_type=b"application/json", head=b'{"requests":[', between=b",", tail=b"]}"),
    write_request=_write_anthropic,
    read_batch=read_anthropic_batch,
    read_batches=read_anthropic_batches,
    read_result=read_anthropic_result,
)
BATCH_PROTOCOLS: Mapping[str, BatchProtocol] = {"openai": OPENAI_BATCHES, "anthropic": ANTHROPIC_BATCHES}
"""By the name of the vendor."""
