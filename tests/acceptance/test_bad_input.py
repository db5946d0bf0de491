"""Nothing a client sends makes a 500 or a hang, and every refusal has the shape of its dialect."""

import gzip
import http.client
import json
import zlib

import pytest

from tests.acceptance.support import send_path, send_raw
from tests.conftest import prepare
from tests.gateway_process import run_gateway

ROUTES = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
]
LIMIT = 200_000
DEEP = b'{"model":"mock/echo","messages":%b}'

BODIES = {
    "empty": b"",
    "white space": b"  \n",
    "text": b"hello",
    "html": b"<html></html>",
    "half": b'{"model":"mock/echo","mess',
    "array": b"[]",
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "two objects": b"{}{}",
    "no model": b"{}",
    "null model": b'{"model":null}',
    "number model": b'{"model":5}',
    "list model": b'{"model":["mock/echo"]}',
    "empty model": b'{"model":""}',
    "slash model": b'{"model":"/"}',
    "nameless model": b'{"model":"mock/"}',
    "stream yes": b'{"model":"mock/echo","stream":"yes"}',
    "stream 1": b'{"model":"mock/echo","stream":1}',
    "options text": b'{"model":"mock/echo","stream":true,"stream_options":"all"}',
    "options list": b'{"model":"mock/echo","stream":true,"stream_options":[1]}',
    "usage text": b'{"model":"mock/echo","stream":true,"stream_options":{"include_usage":"yes"}}',
    "background text": b'{"model":"mock/echo","background":"yes"}',
    "messages text": b'{"model":"mock/echo","messages":"hi","input":{},"prompt":{}}',
    "messages of numbers": b'{"model":"mock/echo","messages":[1,null,[]],"input":[[]],"prompt":[{}]}',
    "null content": b'{"model":"mock/echo","messages":[{"role":"user","content":null}],"input":null,"prompt":null}',
    "odd role": b'{"model":"mock/echo","messages":[{"role":7,"content":{}}],"input":[7],"prompt":7}',
    "negative": b'{"model":"mock/echo","max_tokens":-1,"n":-1,"messages":[{"role":"user","content":"x"}]}',
    "NaN": b'{"model":"mock/echo","temperature":NaN}',
    "huge number": b'{"model":"mock/echo","temperature":1e99999999999999999999}',
    "huge exponent": b'{"model":"mock/echo","temperature":1e400,"seed":-1e-400}',
    "long number": b'{"model":"mock/echo","seed":' + b"9" * 5000 + b"}",
    "NUL byte": b'{"model":"mock/echo","x":"\0"}',
    "NUL escape": b'{"model":"mock/ec\\u0000ho","messages":[{"role":"user","content":"\\u0000"}],"prompt":"\\u0000"}',
    "bad UTF-8": b'{"model":"mock/echo","x":"\xff\xfe"}',
    "bad UTF-8 in a key": b'{"model":"mock/echo","\xff":1,"stream":true}',
    "bad UTF-8 in the model": b'{"model":"mock/\xff"}',
    "UTF-16": '{"model":"mock/echo"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"model":"mock/echo"}',
    "lone surrogate": b'{"model":"mock/echo","x":"\\ud800"}',
    "lone surrogate in the model": b'{"model":"mock/\\udfff","stream":true}',
    "deep arrays": DEEP % (b"[" * 5000 + b"]" * 5000),
    "deep objects": DEEP % (b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "less deep": DEEP % (b"[" * 960 + b"]" * 960),
    "unclosed": DEEP % (b"[" * 100_000),
    "many keys": json.dumps({"model": "mock/echo", **{str(i): 0 for i in range(10_000)}}).encode(),
    "twice the model": b'{"model":"mock/echo","model":5}',
    "control characters": b'{"model":"mock/\\u0007\\r\\n"}',
}


@pytest.fixture(scope="module")
def small(module_database_url, tmp_path_factory):
    """A gateway that takes small bodies only."""
    ready = prepare(module_database_url, tmp_path_factory.mktemp("small"), max_body_bytes=LIMIT, max_upload_bytes=LIMIT)
    with run_gateway(ready) as running:
        yield running


def check_shape(path, reply):
    """Assert that a refusal has the shape of the path's dialect."""
    answer = reply.json()
    assert reply.headers["content-type"].startswith("application/json")
    assert isinstance(answer["error"]["message"], str)
    if path.startswith("/v1/messages"):
        assert answer["type"] == "error"
        assert answer["error"]["type"]
    else:
        assert set(answer["error"]) >= {"message", "type", "code"}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(small, path, name):
    """A body that is not what it should be is a 4xx, or the provider's to judge."""
    reply = send_path(small, "POST", path, BODIES[name], content_type="application/json")
    assert reply.status < 500, reply.body
    if reply.status != 200:
        check_shape(path, reply)
    assert send_path(small, "POST", path, BODIES[name], key="").status == 401


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/images/generations", "/v1/responses/x/cancel"]
)
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_pass_unread(small, path, name):
    """On paths that pass unread the provider judges the body; the gateway does not fail on it."""
    reply = send_path(small, "POST", path, BODIES[name], content_type="application/json")
    assert reply.status < 500, reply.body
    if reply.status != 200:
        check_shape(path, reply)


def test_what_is_wrong_is_named(small):
    """A wrong type names the field."""
    reply = send_path(small, "POST", "/v1/chat/completions", b'{"model":"mock/echo","stream":"yes"}')
    assert (reply.status, reply.json()["error"]["param"]) == (400, "stream")
    reply = send_path(small, "POST", "/v1/chat/completions", b"{}")
    assert (reply.status, reply.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("path", [*ROUTES, "/v1/batches", "/v1/files"])
def test_too_large(small, path):
    """A body over the limit is a 413 in the dialect, with a length or in chunks, and so is a stranger's a 401."""
    body = b'{"model":"mock/echo","x":"' + b"x" * LIMIT + b'"}'
    kind = "multipart/form-data; boundary=x" if path == "/v1/files" else "application/json"
    reply = send_path(small, "POST", path, body, content_type=kind)
    assert reply.status == 413
    check_shape(path, reply)
    assert send_path(small, "POST", path, body, key="", content_type=kind).status == 401
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {small.key}\r\n"
    head += f"content-type: {kind}\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(body) // 4, body[: len(body) // 4])
    reply = send_raw(small, head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunk * 5 + b"0\r\n\r\n")
    assert reply.status == 413
    check_shape(path, reply)


def test_chunked_bodies(small):
    """A body in chunks is read like any other."""
    body = b'{"model":"mock/echo","messages":[{"role":"user","content":"in chunks"}]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {small.key}\r\n"
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 5]), body[i : i + 5]) for i in range(0, len(body), 5))
    reply = send_raw(small, head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert reply.json()["choices"][0]["message"]["content"] == "in chunks"


GOOD = b'{"model":"mock/echo","max_tokens":9,"messages":[{"role":"user","content":"zipped"}]}'
BOMB = gzip.compress(b'{"model":"mock/echo","x":"' + b"x" * 50_000_000 + b'"}')
ENCODED = [
    ("gzip", gzip.compress(GOOD), 200),
    ("GZIP", gzip.compress(GOOD), 200),
    ("x-gzip", gzip.compress(GOOD), 200),
    ("deflate", zlib.compress(GOOD), 200),
    ("identity", GOOD, 200),
    ("gzip", GOOD, 400),
    ("gzip", b"", 400),
    ("gzip", gzip.compress(GOOD)[:-9], 400),
    ("gzip", gzip.compress(GOOD)[:20] + b"\0" * 40, 400),
    ("gzip", gzip.compress(GOOD) + b"more", 400),
    ("gzip", gzip.compress(GOOD[:20]) + gzip.compress(GOOD[20:]), 400),
    ("gzip", BOMB, 413),
    ("br", GOOD, 400),
    ("zstd", GOOD, 400),
    ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 400),
    ("\xff", GOOD, 400),
]


@pytest.mark.parametrize(("encoding", "body", "status"), ENCODED, ids=range(len(ENCODED)))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_content_encoding(small, path, encoding, body, status):
    """Compressed bodies are read within the limit; a broken, foreign or swollen one is refused."""
    reply = send_path(small, "POST", path, body, content_encoding=encoding)
    assert reply.status == status, reply.body
    if status == 200:
        assert b"zipped" in reply.body
    else:
        check_shape(path, reply)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/nothing/of/the/kind", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_the_key_comes_first(small, path, method):
    """Without a key everything is a 401: no stranger learns which paths, methods or bodies there are."""
    reply = send_path(small, method, path, b"{" * 10, key="", content_encoding="br", x_aihub_cache="nonsense")
    assert reply.status == 401
    if method != "HEAD":
        check_shape(path, reply)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(7),
)
def test_what_is_no_http(small, request_bytes):
    """Bytes that are no HTTP are answered with a 4xx or not at all, and the next request is served."""
    try:
        reply = send_raw(small, request_bytes, seconds=3)
    except (OSError, http.client.HTTPException):
        pass
    else:
        assert 400 <= reply.status < 500
    assert send_path(small, "GET", "/v1/models").status == 200
