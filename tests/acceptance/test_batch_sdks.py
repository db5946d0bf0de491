"""Files and batches by the vendors' own SDKs: whatever the provider, they are the gateway's own."""

import io
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import anthropic
import httpx
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from tests.acceptance.support import Provider, find_rows, fresh, make_key, query, send_path, wait_until
from tests.gateway_process import Gateway

CHAT = "/v1/chat/completions"
MODEL = "claude-haiku-4-5"
OVER = {"completed", "failed", "expired", "cancelled"}
LARGE = 20_000
HOUSE = {"authorization": "Bearer sk-openai-of-the-house", "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def relay(vendors: Gateway, vendors_url: str) -> Gateway:
    """A gateway that calls directly: what vendors do in batches of their own has its own tests."""
    vendors.configure(batch={"native": False, "concurrency": 64})
    with vendors.client(headers={"authorization": f"Bearer {vendors.admin_key}"}) as admin:
        local = {"type": "openai-compatible", "base_url": f"{vendors_url}/v1", "api_key": "sk-of-the-house"}
        admin.put("/v1/config/providers/local", json=local).raise_for_status()
    return vendors


@pytest.fixture
def client(relay: Gateway) -> Iterator[OpenAI]:
    """OpenAI's SDK at the unified address."""
    with OpenAI(base_url=f"{relay.url}/v1", api_key=relay.key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(relay: Gateway) -> Iterator[Anthropic]:
    """Anthropic's SDK at the unified address."""
    with Anthropic(base_url=relay.url, api_key=relay.key, max_retries=0) as client:
        yield client


def line(name: str, text: str, model: str = "openai/gpt-4o", url: str = CHAT, **fields: Any) -> dict[str, Any]:
    """Return one line of a file."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def write(lines: list[Any]) -> bytes:
    """Return a file of lines."""
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)


def upload(client: OpenAI, content: bytes, name: str = "calls.jsonl") -> str:
    """Upload a file and return its id."""
    return client.files.create(file=(name, io.BytesIO(content)), purpose="batch").id


def start(client: OpenAI, lines: list[Any], endpoint: str = CHAT, window: str = "24h", **fields: Any) -> Any:
    """Create a batch of these lines."""
    file_id = upload(client, write(lines))
    return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window=window, **fields)


def wait(client: OpenAI, batch_id: str, seconds: float = 60) -> Any:
    """Return a batch once it is over."""
    return wait_until(lambda: client.batches.retrieve(batch_id), lambda batch: batch.status in OVER, seconds)


def read(client: OpenAI, file_id: str) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    return [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


def ask(text: str, name: str, model: str = MODEL, **fields: Any) -> dict[str, Any]:
    """Return one request of a message batch."""
    params = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}
    return {"custom_id": name, "params": params}


def wait_ended(client: Anthropic, batch_id: str, seconds: float = 60) -> Any:
    """Return a message batch once it has ended."""
    find = client.messages.batches.retrieve
    return wait_until(lambda: find(batch_id), lambda batch: batch.processing_status == "ended", seconds)


@pytest.mark.parametrize(
    ("base", "model"),
    [
        ("/v1", "openai/gpt-4o"),
        ("/v1", MODEL),
        ("/v1/openai", "gpt-4o"),
        ("/v1/anthropic", MODEL),
        ("/v1/local", "echo"),
    ],
)
def test_a_batch_of_any_provider(relay: Gateway, base: str, model: str) -> None:
    """The whole way of OpenAI's SDK: upload, create, ask, read, delete, whichever provider answers."""
    with OpenAI(base_url=relay.url + base, api_key=relay.key, max_retries=0) as client:
        content = write([line(f"r{n}", f"text {n}", model) for n in range(3)])
        stored = client.files.create(file=("calls.jsonl", io.BytesIO(content)), purpose="batch")
        assert (stored.bytes, stored.filename, stored.purpose, stored.status) == (
            len(content),
            "calls.jsonl",
            "batch",
            "processed",
        )
        assert client.files.content(stored.id).content == content
        batch = client.batches.create(
            input_file_id=stored.id, endpoint=CHAT, completion_window="24h", metadata={"job": "nightly"}
        )
        assert batch.id.startswith("batch_")
        batch = wait(client, batch.id)
        assert (batch.status, batch.endpoint, batch.completion_window) == ("completed", CHAT, "24h")
        assert (batch.metadata, batch.input_file_id, batch.error_file_id) == ({"job": "nightly"}, stored.id, None)
        assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
        assert batch.created_at <= batch.in_progress_at <= batch.completed_at <= batch.expires_at
        results = {one["custom_id"]: one for one in read(client, batch.output_file_id)}
        texts = [results[f"r{n}"]["response"]["body"]["choices"][0]["message"]["content"] for n in range(3)]
        assert texts == ["text 0", "text 1", "text 2"]
        assert (results["r0"]["response"]["status_code"], results["r0"]["error"]) == (200, None)
        assert find_rows(relay, results["r0"]["response"]["request_id"])
        used = [one["response"]["body"]["usage"] for one in results.values()]
        assert batch.usage.total_tokens == sum(one["total_tokens"] for one in used) > 0
        assert client.files.delete(stored.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(stored.id)


def test_other_endpoints(client: OpenAI) -> None:
    """Embeddings, responses and completions can be in a batch as well."""
    for endpoint, body in [
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}),
        ("/v1/responses", {"model": "gpt-4o", "input": "hi"}),
        ("/v1/completions", {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "hi"}),
    ]:
        one = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
        batch = wait(client, start(client, [one], endpoint).id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 1), endpoint


def test_failures_have_a_file_of_their_own(client: OpenAI) -> None:
    """What did not succeed is in the error file with its status and body; both files are as long as they say."""
    lines = [
        line("good", fresh()),
        line("bad", fresh("[[mock status=400]]")),
        line("nobody's", "x", "nobody/knows-it"),
        line('odd "\u00e9\u4e2d\U0001f600\\ \t', fresh("[[mock status=404]]")),
    ]
    batch = wait(client, start(client, lines).id)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 3)
    assert [one["custom_id"] for one in read(client, batch.output_file_id)] == ["good"]
    failed = {one["custom_id"]: one["response"] for one in read(client, batch.error_file_id)}
    assert set(failed) == {lines[1]["custom_id"], lines[2]["custom_id"], lines[3]["custom_id"]}
    assert failed["bad"]["status_code"] == 400
    assert failed["nobody's"]["body"]["error"]["code"] == "model_not_found"
    for file_id in (batch.output_file_id, batch.error_file_id):
        file = client.files.retrieve(file_id)
        assert file.bytes == len(client.files.content(file_id).content)
        assert (file.purpose, file.object) == ("batch_output", "file")
        assert file_id in [one.id for one in client.files.list(purpose="batch_output")]
        assert client.files.delete(file_id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.content(file_id)
    again = client.batches.retrieve(batch.id)
    assert (again.output_file_id, again.error_file_id) == (None, None)


@pytest.mark.parametrize(
    ("lines", "code", "number", "param"),
    [
        ([b"{not json"], "invalid_json_line", 1, None),
        (
            [line("a", "x"), b'{"method":"POST","url":"/v1/chat/completions","body":{}}'],
            "invalid_request",
            2,
            "custom_id",
        ),
        ([line("a", "x"), line("b", "x"), line("a", "x")], "duplicate_custom_id", 3, None),
        ([{**line("a", "x"), "method": "GET"}], "invalid_method", 1, "method"),
        ([line("a", "x", url="/v1/embeddings")], "url_mismatch", 1, "url"),
        ([{**line("a", "x"), "body": [1]}], "invalid_request", 1, "body"),
        ([line("a", "x"), line("b", "x", "gpt\0")], "invalid_request", 2, "model"),
        ([], "empty_file", None, "input_file_id"),
        ([b"", b"  "], "empty_file", None, "input_file_id"),
    ],
)
def test_a_file_that_cannot_be_read(client: OpenAI, lines: list[Any], code: str, number: Any, param: Any) -> None:
    """The batch fails as a whole, and says which line is wrong and why."""
    batch = start(client, lines)
    assert batch.status == "failed"
    assert batch.errors.object == "list"
    first = batch.errors.data[0]
    assert (first.code, first.line, first.param) == (code, number, param)
    assert first.message
    assert (batch.output_file_id, batch.error_file_id, batch.request_counts.total) == (None, None, 0)
    assert batch.failed_at


def test_too_many_requests(relay: Gateway, client: OpenAI) -> None:
    """More requests than are allowed fail the batch."""
    relay.configure(batch={"max_requests": 5})
    try:
        batch = start(client, [line(f"r{n}", "x") for n in range(6)])
    finally:
        relay.configure(batch={"max_requests": 100_000})
    assert (batch.status, batch.errors.data[0].code) == ("failed", "too_many_requests")


@pytest.mark.parametrize(
    ("change", "param", "status"),
    [
        ({"input_file_id": "file-none"}, "input_file_id", 404),
        ({"input_file_id": f"file-{'0' * 32}"}, "input_file_id", 404),
        ({"endpoint": "/v1/images/generations"}, "endpoint", 400),
        ({"completion_window": "soon"}, "completion_window", 400),
        ({"completion_window": "9000h"}, "completion_window", 400),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", 400),
        ({"metadata": {"a": "x" * 513}}, "metadata", 400),
        ({"metadata": {"a": "\0"}}, "metadata", 400),
        ({"metadata": {"\0": "a"}}, "metadata", 400),
    ],
)
def test_what_cannot_be_created(client: OpenAI, change: dict[str, Any], param: str, status: int) -> None:
    """What does not fit is named."""
    good = {"input_file_id": upload(client, write([line("a", "x")])), "endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(openai.APIStatusError) as caught:
        client.batches.create(**{**good, **change})
    assert caught.value.status_code == status
    assert str(caught.value.param).startswith(param)
    assert caught.value.request_id


def test_cancelling(client: OpenAI, relay: Gateway) -> None:
    """A batch that is cancelled ends within seconds; what was not done is in the error file."""
    lines = [line("quick", fresh())] + [line(f"slow{n}", fresh("[[mock delay_ms=60000]]")) for n in range(80)]
    batch = start(client, lines)
    wait_until(lambda: client.batches.retrieve(batch.id), lambda one: one.request_counts.completed == 1, 30)
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    batch = wait(client, batch.id, 20)
    assert (batch.status, batch.request_counts.total) == ("cancelled", 81)
    assert batch.cancelling_at <= batch.cancelled_at
    assert [one["custom_id"] for one in read(client, batch.output_file_id)] == ["quick"]
    undone = read(client, batch.error_file_id)
    assert {(one["response"], one["error"]["code"]) for one in undone} == {(None, "batch_cancelled")}
    assert len(client.files.content(batch.error_file_id).content) == client.files.retrieve(batch.error_file_id).bytes
    assert client.batches.cancel(batch.id).status == "cancelled"
    over = wait(client, start(client, [line("a", fresh())]).id)
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(over.id)


@pytest.mark.parametrize("by", ["window", "header"])
def test_expiry(client: OpenAI, by: str) -> None:
    """A shorter window, or our header, is a deadline: what is not done by then has expired."""
    lines = [line("a", fresh("[[mock delay_ms=60000]]")), line("b", fresh())]
    extra = {"x-relay-deadline": "3s"} if by == "header" else {}
    batch = start(client, lines, window="3s" if by == "window" else "24h", extra_headers=extra)
    assert batch.completion_window == "3s"
    assert batch.expires_at - batch.created_at == 3
    batch = wait(client, batch.id, 30)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("expired", 1, 1)
    assert read(client, batch.error_file_id)[0]["error"]["code"] == "batch_expired"
    assert batch.expired_at


def test_pages(relay: Gateway) -> None:
    """The SDK's own paging goes through everything once, also while what was seen is deleted."""
    key = make_key(relay, "pages@example.org")
    with OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0) as client:
        ids = [upload(client, write([line("a", f"page {n}")]), f"{n}.jsonl") for n in range(5)]
        made = [client.batches.create(input_file_id=one, endpoint=CHAT, completion_window="24h").id for one in ids[:5]]
        for one in made:
            wait(client, one)
        assert [one.id for one in client.batches.list(limit=2)] == made[::-1]
        everything = [one.id for one in client.files.list(limit=3)]
        assert sorted(everything) == sorted(ids + [one.output_file_id for one in client.batches.list()])
        assert [one.id for one in client.files.list(limit=2, order="asc")] == everything[::-1]
        assert [one.id for one in client.files.list(purpose="batch", limit=2)] == ids[::-1]
        page = client.files.list(limit=4)
        assert (page.has_more, len(page.data)) == (True, 4)
        for one in client.files.list(limit=2):
            client.files.delete(one.id)
        assert list(client.files.list()) == []
        for bad in ({"limit": 0}, {"limit": "x"}, {"after": "file-none"}, {"order": "up"}):
            with pytest.raises(openai.BadRequestError):
                client.files.list(**bad)
        with pytest.raises(openai.BadRequestError):
            client.batches.list(limit=101)


def test_the_life_of_a_file(client: OpenAI, relay: Gateway) -> None:
    """A file says when it is gone, and is gone then."""
    content = io.BytesIO(b"{}\n")
    file = client.files.create(
        file=("a.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at - file.created_at == 3600
    stored = query(relay, "SELECT id FROM batch_files WHERE expires_at IS NOT NULL")
    query(relay, "UPDATE batch_files SET expires_at = now() WHERE id = %s", stored[0]["id"])
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(
            file=("a.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 5}
        )
    assert query(relay, "SELECT id FROM batch_files WHERE NOT complete") == []


def refuse_stranger(relay: Gateway, provider: Provider, file_id: str, **headers: str) -> None:
    """Check that another user finds nothing of a file at the provider, which is not even asked."""
    stranger = make_key(relay, "stranger@example.org")
    seen = provider.count()
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        reply = send_path(relay, method, f"/v1/files/{file_id}{path}", key=stranger, **headers)
        assert (reply.status, provider.count()) == (404, seen), (method, path)


def test_other_purposes_are_the_providers(client: OpenAI, relay: Gateway, provider: Provider) -> None:
    """A file that is for something else goes up as it comes, wherever its purpose stands in the form."""
    stored = client.files.create(file=("notes.txt", io.BytesIO(b"notes")), purpose="user_data")
    assert client.files.retrieve(stored.id).purpose == "user_data"
    assert client.files.content(stored.id).content == b"notes"
    assert list(client.files.list(purpose="user_data")) == []  # the provider's list is everybody's
    assert stored.id not in [one.id for one in client.files.list()]
    refuse_stranger(relay, provider, stored.id)
    noted = "SELECT provider, file_id FROM provider_files WHERE file_id = %s"
    assert query(relay, noted, stored.id) == [{"provider": "openai", "file_id": stored.id}]
    assert client.files.delete(stored.id, extra_headers={"idempotency-key": fresh()}).deleted
    assert query(relay, noted, stored.id) == []
    content = b"\r\n--almost" * 400_000
    form = [
        b'--bound\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n' + content,
        b'\r\n--bound\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--bound--\r\n',
    ]
    with relay.client() as http:
        headers = {"content-type": "multipart/form-data; boundary=bound"}
        reply = http.post("/v1/files", content=b"".join(form), headers=headers)
    assert (reply.status_code, reply.json()["purpose"], reply.json()["bytes"]) == (200, "assistants", len(content))
    assert client.files.content(reply.json()["id"]).content == content
    assert query(relay, "SELECT id FROM batch_files WHERE NOT complete OR purpose <> 'batch'") == []


def test_anthropics_files_are_their_senders(relay: Gateway, claude: Anthropic, provider: Provider) -> None:
    """A file in Anthropic's words goes up as it comes; who uploaded it reaches it there, others do not."""
    file_id = f"file_{fresh('c').replace(' ', '')}"
    made = {"id": file_id, "type": "file", "filename": "a", "mime_type": "text/plain", "size_bytes": 1}
    provider.answer_next(json.dumps({**made, "created_at": "2026-07-01T12:00:00Z"}).encode())
    assert claude.beta.files.upload(file=("a", b"x")).id == file_id
    with pytest.raises(anthropic.NotFoundError, match="No such File"):
        claude.beta.files.retrieve_metadata(file_id)
    assert provider.last().path == f"/v1/files/{file_id}"
    assert list(claude.beta.files.list()) == []
    refuse_stranger(relay, provider, file_id, anthropic_version="2023-06-01")


def test_what_else_is_said_of_an_upload(relay: Gateway, provider: Provider) -> None:
    """Only success notes whose file it is; one that is somebody's stays theirs; with a key of one's own nothing is."""
    boundary = {"content_type": "multipart/form-data; boundary=b"}
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    first, second = make_key(relay, "first@example.org"), make_key(relay, "second@example.org")
    for key, name, status, how in (
        (first, b'"file-x1"', 200, {}),
        (second, b'"file-x1"', 200, {}),
        (first, b'"file-x2"', 400, {}),
        (first, b'"file-x3"', 200, {"x_relay_upstream_key": "sk-of-my-own"}),
        (first, b'"nul\\u0000"', 200, {}),
        (first, b"5", 200, {}),
    ):
        provider.answer_next(b'{"id":' + name + b"}", status=status)
        assert send_path(relay, "POST", "/v1/files", body, key=key, **boundary, **how).status == status
    found = query(relay, "SELECT file_id, email FROM provider_files JOIN users ON users.id = user_id ORDER BY 1")
    assert [one for one in found if one["email"].startswith(("first", "second"))] == [
        {"file_id": "file-x1", "email": "first@example.org"}
    ]
    reply = send_path(relay, "DELETE", "/v1/files/file-x1", b'{"model":"anthropic/x"}', key=first)
    assert reply.status == 400  # what could lead it to another provider


def test_a_large_file(relay: Gateway, client: OpenAI) -> None:
    """Twenty thousand requests go in by a worker and come out again, and nobody ever holds them whole."""
    slow = fresh("[[mock delay_ms=60000]]")
    content = write([line(f"r{n}", slow, "local/echo", user="x" * 500) for n in range(LARGE)])
    assert len(content) > 12 * 2**20
    tracemalloc.start()
    try:
        file_id = upload(client, content)
        assert tracemalloc.get_traced_memory()[1] < len(content) + 8 * 2**20  # the client holds it once
        tracemalloc.reset_peak()
        assert client.files.retrieve(file_id).bytes == len(content)
        with client.files.with_streaming_response.content(file_id) as reply:
            assert sum(len(one) for one in reply.iter_bytes()) == len(content)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
    assert query(relay, "SELECT max(size) AS most FROM batch_file_pieces")[0]["most"] < 2 * 2**20
    batch = client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    assert batch.status == "validating"
    find = client.batches.retrieve
    wait_until(lambda: find(batch.id), lambda one: one.status == "in_progress", 120)
    client.batches.cancel(batch.id)
    batch = wait(client, batch.id)
    assert (batch.status, batch.request_counts.total, batch.request_counts.failed) == ("cancelled", LARGE, LARGE)
    names, size = set(), 0
    with client.files.with_streaming_response.content(batch.error_file_id) as reply:
        for one in reply.iter_lines():
            size += len(one) + 1
            names.add(json.loads(one)["custom_id"])
    assert len(names) == LARGE
    assert client.files.retrieve(batch.error_file_id).bytes == size


def test_a_large_file_that_is_wrong_or_unpaid(relay: Gateway, client: OpenAI) -> None:
    """What the worker that reads it finds is told by the batch."""
    lines = [line(f"r{n}", "x", user="x" * 5000) for n in range(1800)]
    batch = wait(client, start(client, [*lines, b"{no json"]).id)
    assert (batch.status, batch.request_counts.total) == ("failed", 0)
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == ("invalid_json_line", 1801)
    left = "SELECT count(*) AS n FROM batch_requests WHERE batch_id = %s"
    assert query(relay, left, UUID(batch.id.removeprefix("batch_"))) == [{"n": 0}]
    with OpenAI(base_url=f"{relay.url}/v1", api_key=make_admin_key(relay, budget_usd=0), max_retries=0) as poor:
        batch = wait(poor, start(poor, lines).id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "budget_exceeded")


def test_a_key_of_the_callers_own(relay: Gateway, client: OpenAI, claude: Anthropic) -> None:
    """Provider keys that callers bring are not kept: a batch with one is refused."""
    file_id = upload(client, write([line("a", "x")]))
    headers = {"x-relay-upstream-key": "sk-of-my-own"}
    with pytest.raises(openai.BadRequestError, match="own provider keys"):
        client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h", extra_headers=headers)
    with pytest.raises(openai.BadRequestError, match="own provider keys"):
        client.files.create(file=("a.jsonl", b"x"), purpose="batch", extra_headers=headers)
    with pytest.raises(anthropic.BadRequestError, match="own provider keys"):
        claude.messages.batches.create(requests=[ask("x", "a")], extra_headers=headers)


def test_restricted_keys(relay: Gateway) -> None:
    """A key that is held to models gets an error for each request that is for another."""
    key = make_key(relay, "held@example.org", models=("gpt-4o",))
    with OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0) as client:
        lines = [line("may", fresh(), "gpt-4o"), line("may not", fresh(), "gpt-4o-mini")]
        batch = wait(client, start(client, lines).id)
        assert [one["custom_id"] for one in read(client, batch.output_file_id)] == ["may"]
        failed = read(client, batch.error_file_id)
        assert [one["response"]["status_code"] for one in failed] == [403]
        assert failed[0]["response"]["body"]["error"]["code"] == "model_not_allowed"


def make_admin_key(relay: Gateway, **rights: Any) -> str:
    """Return a key of a new user, made by an administrator."""
    with relay.client(headers={"authorization": f"Bearer {relay.admin_key}"}) as admin:
        user = admin.post("/admin/users", json={"email": f"{fresh('u').replace(' ', '')}@example.org", "name": "u"})
        made = admin.post("/admin/api-keys", json={"user_id": user.json()["id"], "name": "k", **rights})
        assert made.status_code == 201, made.text
        return made.json()["key"]


def test_scopes_and_routes(relay: Gateway) -> None:
    """A key for batches may do this and no calls; one held to other routes may not."""
    key = make_admin_key(relay, scopes=["batch"])
    with OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0) as client:
        assert wait(client, start(client, [line("a", fresh())]).id).request_counts.completed == 1
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
    with Anthropic(base_url=relay.url, api_key=key, max_retries=0) as client:
        batch = client.messages.batches.create(requests=[ask(fresh(), "a")])
        assert wait_ended(client, batch.id).request_counts.succeeded == 1
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.create(**ask("x", "a")["params"])
    key = make_admin_key(relay, routes=["files", "batches", "embeddings"])
    held = OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0)
    with held, pytest.raises(openai.PermissionDeniedError):
        start(held, [line("a", "x")])
    held_claude = Anthropic(base_url=relay.url, api_key=key, max_retries=0)
    with held_claude, pytest.raises(anthropic.PermissionDeniedError):
        held_claude.messages.batches.create(requests=[ask("x", "a")])


def test_an_empty_budget(relay: Gateway) -> None:
    """Who has not enough for all of it is told at once, and nothing is left."""
    key = make_admin_key(relay, budget_usd=0)
    with OpenAI(base_url=f"{relay.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            start(client, [line("a", "x", max_tokens=5)])
        assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
        assert list(client.batches.list()) == []
    with Anthropic(base_url=relay.url, api_key=key, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.batches.create(requests=[ask("x", "a")])
        assert (refused.value.status_code, refused.value.body["error"]["type"]) == (402, "billing_error")
        assert list(client.messages.batches.list()) == []


@pytest.mark.parametrize("base", ["", "/anthropic", "/v1/anthropic"])
def test_message_batches(relay: Gateway, base: str) -> None:
    """The whole way of Anthropic's SDK: create, ask, read, delete, and the results are found at the gateway."""
    with Anthropic(base_url=relay.url + base, api_key=relay.key, max_retries=0) as client:
        batch = client.messages.batches.create(
            requests=[ask(f"text {n}", f"r{n}") for n in range(3)] + [ask(fresh("[[mock status=400]]"), "bad")]
        )
        assert batch.id.startswith("msgbatch_")
        batch = wait_ended(client, batch.id)
        assert batch.request_counts.model_dump() == {
            "processing": 0,
            "succeeded": 3,
            "errored": 1,
            "canceled": 0,
            "expired": 0,
        }
        assert batch.results_url == f"{relay.url}{base}/v1/messages/batches/{batch.id}/results"
        assert batch.created_at <= batch.ended_at <= batch.expires_at
        results = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}
        assert [results[f"r{n}"].message.content[0].text for n in range(3)] == ["text 0", "text 1", "text 2"]
        assert (results["bad"].type, results["bad"].error.error.type) == ("errored", "invalid_request_error")
        assert batch.id in [one.id for one in client.messages.batches.list()]
        assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.retrieve(batch.id)


def test_message_batches_of_other_models(claude: Anthropic) -> None:
    """Models of any provider can be in one, translated like any call; an unknown one comes to an error of its own."""
    requests = [ask("one", "openai", "gpt-4o"), ask("two", "local", "local/echo"), ask("x", "none", "nobody/knows")]
    batch = wait_ended(claude, claude.messages.batches.create(requests=requests).id)
    results = {one.custom_id: one.result for one in claude.messages.batches.results(batch.id)}
    assert results["openai"].message.content[0].text == "one"
    assert results["local"].message.content[0].text == "two"
    assert (results["none"].type, results["none"].error.error.type) == ("errored", "not_found_error")


def test_cancelling_message_batches(claude: Anthropic) -> None:
    """A message batch is canceled, cannot be deleted before it has ended, and not canceled after."""
    requests = [ask(fresh("[[mock delay_ms=60000]]"), f"r{n}") for n in range(80)]
    batch = claude.messages.batches.create(requests=requests)
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 80)
    assert batch.results_url is None
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.delete(batch.id)
    with pytest.raises(anthropic.BadRequestError):
        claude.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
    batch = claude.messages.batches.cancel(batch.id)
    assert batch.processing_status in {"canceling", "ended"}
    assert batch.cancel_initiated_at
    batch = wait_ended(claude, batch.id, 20)
    assert batch.request_counts.canceled == 80
    assert {one.result.type for one in claude.messages.batches.results(batch.id)} == {"canceled"}
    over = wait_ended(claude, claude.messages.batches.create(requests=[ask(fresh(), "a")]).id)
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.cancel(over.id)


def test_message_batches_expire(claude: Anthropic) -> None:
    """With a deadline what is not done by then has expired."""
    requests = [ask(fresh("[[mock delay_ms=60000]]"), "a"), ask(fresh(), "b")]
    batch = claude.messages.batches.create(requests=requests, extra_headers={"x-relay-deadline": "3s"})
    batch = wait_ended(claude, batch.id, 30)
    assert {one.custom_id: one.result.type for one in claude.messages.batches.results(batch.id)} == {
        "a": "expired",
        "b": "succeeded",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"requests":[]}',
        b'{"requests":{}}',
        b'{"requests":[5]}',
        b'{"requests":[{"custom_id":"a b","params":{}}]}',
        b'{"requests":[{"custom_id":"a","params":[]}]}',
        b'{"requests":[{"custom_id":"a","params":{"model":"m"}},{"custom_id":"a","params":{"model":"m"}}]}',
        b'{"requests":[{"custom_id":"a","params":{"model":5}}]}',
        b'{"requests":[{"params":{"model":"m"}}]}',
        b'{"requests":[{"custom_id":"a","params":{"model":"m\\u0000"}}]}',
        b'{"requests":[{"custom_id":"a\\u0000","params":{"model":"m"}}]}',
    ],
)
def test_bodies_that_are_no_message_batch(relay: Gateway, body: bytes) -> None:
    """They are a 400 in Anthropic's shape, and nothing is left of them."""
    before = query(relay, "SELECT count(*) AS n FROM batches")
    reply = send_path(relay, "POST", "/v1/messages/batches", body, content_type="application/json")
    assert (reply.status, reply.json()["type"]) == (400, "error"), reply.body
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.headers["request-id"] == reply.json()["request_id"]
    assert query(relay, "SELECT count(*) AS n FROM batches") == before


def test_pages_of_message_batches(relay: Gateway) -> None:
    """Pages go forwards and backwards, and on while what was seen is deleted."""
    with Anthropic(base_url=relay.url, api_key=make_key(relay, "pages-a@example.org"), max_retries=0) as client:
        made = [client.messages.batches.create(requests=[ask(f"p {n}", "a")]).id for n in range(5)]
        for one in made:
            wait_ended(client, one)
        assert [one.id for one in client.messages.batches.list(limit=2)] == made[::-1]
        back = client.messages.batches.list(limit=2, before_id=made[0])
        assert ([one.id for one in back.data], back.has_more) == ([made[2], made[1]], True)
        for one in client.messages.batches.list(limit=2):
            client.messages.batches.delete(one.id)
        assert list(client.messages.batches.list()) == []


def test_a_large_message_batch(claude: Anthropic) -> None:
    """A body of many megabytes goes in request by request."""
    slow = fresh("[[mock delay_ms=60000]]")
    requests = [ask(slow, f"r{n}", "local/echo", metadata={"user_id": "x" * 2000}) for n in range(6000)]
    batch = claude.messages.batches.create(requests=requests)
    assert batch.request_counts.processing == 6000
    claude.messages.batches.cancel(batch.id)
    batch = wait_ended(claude, batch.id)
    assert batch.request_counts.canceled == 6000
    assert len({one.custom_id for one in claude.messages.batches.results(batch.id)}) == 6000


@pytest.mark.anyio
async def test_async_clients(relay: Gateway) -> None:
    """The asynchronous SDKs do the same."""
    async with AsyncOpenAI(base_url=f"{relay.url}/v1", api_key=relay.key, max_retries=0) as client:
        stored = await client.files.create(file=("a.jsonl", write([line("a", "hello async")])), purpose="batch")
        batch = await client.batches.create(input_file_id=stored.id, endpoint=CHAT, completion_window="24h")
        end = time.monotonic() + 30
        while (batch := await client.batches.retrieve(batch.id)).status not in OVER:
            assert time.monotonic() < end
        assert "hello async" in (await client.files.content(batch.output_file_id)).text
    async with AsyncAnthropic(base_url=relay.url, auth_token=relay.key, max_retries=0) as client:
        made = await client.messages.batches.create(requests=[ask("hello async", "a")])
        while (made := await client.messages.batches.retrieve(made.id)).processing_status != "ended":
            assert time.monotonic() < end
        results = [one async for one in await client.messages.batches.results(made.id)]
        assert results[0].result.message.content[0].text == "hello async"


def refuse(call: Callable[[], Any]) -> None:
    """Check that a call finds nothing."""
    with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)):
        call()


def spell(path: str) -> list[str]:
    """Return ways to write a path that a provider may read as this one."""
    head, _, rest = path.removeprefix("/v1/").partition("/")
    tail = f"/{rest}" if rest else ""
    coded = path.removeprefix("/v1/").replace("/", "%2F")
    return [
        path,
        f"/v1/openai/{head}{tail}",
        f"/v1/anthropic/{head}{tail}",
        f"/{head}{tail}",
        f"/v1//{head}{tail}/",
        f"/v1/{coded}",
        f"/v1/openai/{coded}",
        f"/v1/{coded.replace('%', '%25')}",
        f"/v1/v1%2F{coded}",
        f"/v1/{head.upper()}{tail}",
        f"/v1/{head[0]}%{ord(head[1]):x}{head[2:]}{tail}",
        f"/v1/{head};x{tail}",
        f"/v1/{head}%3Fx=/{rest}",
        f"/v1/{head}%23{tail}",
        f"/v1/{head}%5C{rest}",
        f"/v1/{head}%09{tail}",
        f"/v1/x%2F%2E%2E%2F{coded}",
        f"/v1/x/%252e%252e/{head}{tail}",
        f"{path};x",
        f"{path}%3Flimit=5",
        f"{path}%00",
    ]


def test_nobody_reaches_the_gateways_own_things_at_a_provider(relay: Gateway, provider: Provider) -> None:
    """However an address is written: with the gateway's key nobody but an administrator sees what is not theirs."""
    canary = fresh("canary").replace(" ", "-")
    with httpx.Client(base_url=f"{provider.url}/v1", trust_env=False, headers=HOUSE) as vendor:
        content = write([line(canary, canary, "gpt-4o")])
        stored = vendor.post("/files", files={"file": (f"{canary}.jsonl", content)}, data={"purpose": "batch"}).json()
        made = {"input_file_id": stored["id"], "endpoint": CHAT, "completion_window": "24h"}
        batch = vendor.post("/batches", json=made).json()["id"]
        messages = vendor.post("/messages/batches", json={"requests": [ask(canary, canary)]}).json()["id"]
    file = f"/v1/files/{stored['id']}"
    asked = [
        *(("GET", path) for path in ("/v1/files", file, f"{file}/content", "/v1/batches", f"/v1/batches/{batch}")),
        *(("GET", f"/v1/messages/batches{tail}") for tail in ("", f"/{messages}", f"/{messages}/results")),
        *(("DELETE", path) for path in (file, f"/v1/messages/batches/{messages}")),
        *(("POST", f"/v1/{path}/cancel") for path in (f"batches/{batch}", f"messages/batches/{messages}")),
    ]
    queries = ("?purpose=batch", "?purpose=batch&purpose=fine-tune", "?purpose=user_data", "?limit=5")
    asked += [("GET", f"/v1/files{one}") for one in queries]
    stranger, seen = make_key(relay, "stranger@example.org"), provider.count()
    for method, path in asked:
        plain, mark, rest = path.partition("?")
        for spelt in (f"{one}{mark}{rest}" for one in spell(plain)):
            for headers in ({}, {"anthropic_version": "2023-06-01"}):
                reply = send_path(relay, method, spelt, key=stranger, **headers)
                assert reply.status in {200, 400, 404, 405}, (method, spelt, reply)
                secrets = [one for one in (canary, stored["id"], batch, messages) if one not in spelt]
                assert not any(one in reply.body.decode() for one in secrets), (method, spelt)
                assert provider.count() == seen, (method, spelt, headers)
    reply = send_path(relay, "GET", f"{file}/content", key=relay.admin_key)
    assert canary in reply.body.decode()


def test_others_see_nothing(relay: Gateway, client: OpenAI, claude: Anthropic) -> None:
    """What one user sends and gets is not there for another; an administrator sees it."""
    canary = fresh("canary").replace(" ", "-")
    file_id = upload(client, write([line(canary, canary)]), f"{canary}.jsonl")
    batch = wait(client, client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h").id)
    messages = wait_ended(claude, claude.messages.batches.create(requests=[ask(canary, canary)]).id)
    other = make_key(relay, "other@example.org")
    with (
        OpenAI(base_url=f"{relay.url}/v1", api_key=other, max_retries=0) as openai_client,
        Anthropic(base_url=relay.url, api_key=other, max_retries=0) as anthropic_client,
    ):
        for one in (file_id, batch.output_file_id):
            refuse(lambda one=one: openai_client.files.retrieve(one))
            refuse(lambda one=one: openai_client.files.content(one))
            refuse(lambda one=one: openai_client.files.delete(one))
        refuse(lambda: openai_client.batches.retrieve(batch.id))
        refuse(lambda: openai_client.batches.cancel(batch.id))
        refuse(lambda: openai_client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h"))
        refuse(lambda: anthropic_client.messages.batches.retrieve(messages.id))
        refuse(lambda: anthropic_client.messages.batches.cancel(messages.id))
        refuse(lambda: anthropic_client.messages.batches.delete(messages.id))
    for path in (
        "/v1/files",
        "/v1/files?purpose=batch_output",
        f"/v1/files?after={file_id}",
        "/v1/batches",
        f"/v1/batches?after={batch.id}",
        f"/v1/messages/batches/{messages.id}/results",
        "/v1/messages/batches",
        f"/v1/messages/batches?before_id={messages.id}",
        "/v1/batch",
    ):
        reply = httpx.get(relay.url + path, headers={"authorization": f"Bearer {other}"}, trust_env=False)
        text = reply.text.replace(path, "")
        assert not any(one in text for one in (canary, file_id, batch.id, messages.id)), path
    with OpenAI(base_url=f"{relay.url}/v1", api_key=relay.admin_key, max_retries=0) as admin:
        assert admin.files.content(file_id).text.startswith('{"custom_id"')
        assert batch.id in [one.id for one in admin.batches.list()]


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "/v1/batches", 405, "GET, POST"),
        ("PUT", "/v1/files", 405, "GET, POST"),
        ("POST", f"/v1/files/file-{'0' * 32}", 405, "DELETE, GET"),
        ("DELETE", f"/v1/files/file-{'0' * 32}/content", 405, "GET"),
        ("DELETE", "/v1/batches/batch_x", 405, "GET"),
        ("GET", "/v1/batches/batch_x/cancel", 405, "POST"),
        ("POST", "/v1/openai/batches/batch_x", 405, "GET"),
        ("PUT", "/v1/messages/batches", 405, "GET, POST"),
        ("POST", "/anthropic/v1/messages/batches/x/results", 405, "GET"),
        ("GET", "/v1/batches/batch_x", 404, None),
        ("GET", f"/v1/batches/batch_{'0' * 32}", 404, None),
        ("GET", "/v1/batches/%00", 404, None),
        ("GET", f"/v1/files/file-{'f' * 32}", 404, None),
        ("GET", f"/v1/files/file-{'f' * 32}-output/content", 404, None),
        ("GET", "/v1/messages/batches/%ff%00", 404, None),
        ("GET", f"/v1/messages/batches/msgbatch_{'0' * 32}/results", 404, None),
        ("GET", "/v1/batches/a/b/c", 404, None),
        ("POST", "/v1/groq/batches", 404, None),
        ("POST", "/v1/groq/messages/batches", 404, None),
    ],
)
def test_what_is_not_there(
    relay: Gateway, provider: Provider, method: str, path: str, status: int, allow: str | None
) -> None:
    """Odd methods are a 405 that says which are taken, odd ids a 404; no provider is asked, and no row is written."""
    body = b'{"input_file_id":"x","endpoint":"/v1/chat/completions","completion_window":"24h"}'
    content = body if method in {"POST", "PUT"} else b""
    reply = send_path(relay, method, path, content, content_type="application/json")
    assert reply.status == status, reply.body
    assert reply.headers.get("allow") == allow
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    if method != "HEAD":
        assert reply.json()["error"]["message"]
    assert provider.count() == 0
    assert find_rows(relay, reply.headers["x-request-id"]) == []


def test_an_administrator_reaches_the_providers_own(relay: Gateway, provider: Provider) -> None:
    """What is no batch of ours is asked of the provider for those alone whom it may concern."""
    admin = OpenAI(base_url=f"{relay.url}/v1", api_key=relay.admin_key, max_retries=0)
    with admin, pytest.raises(openai.NotFoundError):
        admin.batches.retrieve("batch_at_the_provider")
    assert provider.last().path == "/v1/batches/batch_at_the_provider"
