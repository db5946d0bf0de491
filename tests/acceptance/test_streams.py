"""Streams: forwarded as they come, ended with an error when they break, given up when nobody listens."""

import contextlib
import http.client
import json
import socket
import time

import httpx
import pytest

from tests.acceptance.support import (
    chat,
    data_of,
    find_rows,
    fresh,
    get_row,
    message,
    query,
    row_of,
    wait_for_row,
    wait_until,
)

PATHS = [("/v1/chat/completions", chat), ("/v1/messages", message)]
ALL = [
    *PATHS,
    ("/v1/completions", lambda text, **f: {"model": "mock/echo", "prompt": text, **f}),
    ("/v1/responses", lambda text, **f: {"model": "mock/echo", "input": text, **f}),
]


def has_error(path, text):
    """Return whether a stream ends with an error event of the path's dialect."""
    last = json.loads(data_of(text)[-1])
    if path == "/v1/messages":
        return text.rstrip().splitlines()[-2] == "event: error" and last["type"] == "error"
    return bool(last.get("error")) or last.get("type") in {"error", "response.failed"}


@pytest.mark.parametrize(("path", "build"), ALL)
def test_events_come_as_they_are_made(shared_gateway, mock, path, build):
    """The first event is with the client long before the provider has finished, and the others follow one by one."""
    body = build(fresh("[[mock chunk_ms=50 tokens=12]]"), stream=True)
    with shared_gateway.client() as client, client.stream("POST", path, json=body) as reply:
        started, moments = time.monotonic(), []
        for _ in reply.iter_raw():
            moments.append(time.monotonic() - started)
            if len(moments) == 1:
                assert mock.stats()["in_flight"] == 1
    assert moments[0] < 0.35
    assert moments[-1] - moments[0] > 0.4
    assert len(moments) >= 10
    row = row_of(shared_gateway, reply)
    assert row["first_byte_ms"] < 350 < row["latency"]


@pytest.mark.parametrize(("path", "build"), ALL)
@pytest.mark.parametrize("directive", ["cut_after=3", "no_done", "error_after=3", "end_after=3", "cut_after=1"])
def test_broken_streams(shared_gateway, mock, path, build, directive):
    """A stream that breaks off or ends early says so in the dialect, is no success and is not kept."""
    body = build(fresh(f"[[mock {directive} text=lorem times=1]]"), stream=True)
    with shared_gateway.client() as client:
        first = client.post(path, json=body)
        again = client.post(path, json=body)
    assert first.status_code == 200
    assert has_error(path, first.text), first.text[-400:]
    assert "[DONE]" not in first.text
    row = row_of(shared_gateway, first)
    assert row["status_code"] >= 500
    assert row["error_type"]
    assert again.headers["x-aihub-cache-status"] == "miss"
    assert mock.count() == 2


@pytest.mark.parametrize(("path", "build"), ALL)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", ["garbage", "empty", "null", "html", "cut_json", "drop", "redirect", "hang"])
def test_answers_that_are_none(shared_gateway, path, build, streamed, fault):
    """Whatever a provider sends in place of an answer is a JSON 5xx in the dialect, is recorded so and is not kept."""
    body = build(fresh(f"[[mock fault={fault}]]"), stream=streamed)
    with shared_gateway.client(headers={"x-relay-timeout": "0.2"}) as client:
        reply = client.post(path, json=body)
    if streamed and reply.status_code == 200:
        assert has_error(path, reply.text)
    else:
        assert 500 < reply.status_code < 600
        assert reply.json()["error"]["message"]
        assert ("type" in reply.json()) is (path == "/v1/messages")
    assert row_of(shared_gateway, reply)["status_code"] > 500


@pytest.mark.parametrize(("path", "build"), PATHS)
def test_a_refusal_of_a_stream_is_a_plain_error(shared_gateway, path, build):
    """A refusal before the first event is an HTTP error with its status, not a stream."""
    with shared_gateway.client() as client:
        reply = client.post(path, json=build(fresh("[[mock status=429 retry_after=3]]"), stream=True))
    assert reply.status_code == 429
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["retry-after"] == "3"


def leave(gateway, path, body, request_id, *, after_event):
    """Send a request and hang up, at once or after the first event."""
    connection = http.client.HTTPConnection("127.0.0.1", int(gateway.url.rpartition(":")[2]), timeout=10)
    headers = {"authorization": f"Bearer {gateway.key}", "x-request-id": request_id}
    headers["x-aihub-cache"] = "bypass" if path.endswith("uncached") else "use"
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), headers)
        if after_event:
            reply = connection.getresponse()
            reply.readline()
            reply.close()
        else:
            time.sleep(0.1)
        connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)


LEAVING = [
    ("streamed", "[[mock chunk_ms=100 tokens=100]]", True, True),
    ("stalled", "[[mock stall_after=2 text=lorem]]", True, True),
    ("before the first event", "[[mock delay_ms=5000]]", True, False),
    ("whole", "[[mock delay_ms=5000]]", False, False),
    ("hanging", "[[mock fault=hang]]", False, False),
    ("half a body", "[[mock stall_after=1 text=lorem]]", False, False),
]


@pytest.mark.parametrize(("path", "build"), [*PATHS, ALL[3], ("/v1/chat/completions?uncached", chat)])
@pytest.mark.parametrize(("name", "directive", "streamed", "after_event"), LEAVING, ids=[one[0] for one in LEAVING])
def test_a_client_that_leaves(shared_gateway, mock, path, build, name, directive, streamed, after_event):
    """Whoever leaves takes the provider's call along within a second, and the row says 499."""
    request_id = fresh("left").replace(" ", "-")
    body = build(fresh(directive), stream=streamed)
    left = time.monotonic()
    leave(shared_gateway, path, body, request_id, after_event=after_event)
    mock.wait_for(lambda stats: stats["aborted"] == 1 and stats["in_flight"] == 0, seconds=1.5)
    assert time.monotonic() - left < 3
    row = wait_for_row(shared_gateway, request_id)
    assert (row["status_code"], row["error_type"]) == (499, "client_left")
    assert not shared_gateway.parts.flights._flights


def test_an_upload_that_ends_midway(shared_gateway, mock):
    """A client that leaves while it sends its file is a 499, and the provider is not left waiting."""
    with socket.create_connection(("127.0.0.1", int(shared_gateway.url.rpartition(":")[2]))) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shared_gateway.key}\r\n"
            "content-type: multipart/form-data; boundary=b\r\ncontent-length: 100000\r\n"
            "x-request-id: upload-left\r\n\r\n"
        )
        purpose = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b\r\n'
        connection.sendall(head.encode() + purpose + b"x" * 20_000)
        mock.wait_for(lambda stats: stats["in_flight"] == 1)
    mock.wait_for(lambda stats: stats["in_flight"] == 0, seconds=1.5)
    assert wait_for_row(shared_gateway, "upload-left")["status_code"] == 499


def test_a_file_of_a_batch_that_ends_midway(shared_gateway):
    """A client that leaves while it sends a file that is kept leaves nothing behind."""
    with socket.create_connection(("127.0.0.1", int(shared_gateway.url.rpartition(":")[2]))) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shared_gateway.key}\r\n"
            "content-type: multipart/form-data; boundary=b\r\ncontent-length: 10000000\r\n\r\n"
        )
        form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        connection.sendall(head.encode() + form + b"x" * 3_000_000)
        wait_until(lambda: query(shared_gateway, "SELECT position FROM batch_file_pieces"), lambda rows: len(rows) >= 2)
    wait_until(lambda: query(shared_gateway, "SELECT id FROM batch_files"), lambda rows: rows == [])


def test_half_a_request(shared_gateway, mock):
    """A client that leaves before its body is complete is a 499, and nothing goes up."""
    with socket.create_connection(("127.0.0.1", int(shared_gateway.url.rpartition(":")[2]))) as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shared_gateway.key}\r\n"
            "content-length: 1000\r\nx-request-id: half\r\n\r\n"
        )
        connection.sendall(head.encode() + b'{"model"')
        time.sleep(0.1)
    assert wait_for_row(shared_gateway, "half")["status_code"] == 499
    assert mock.count() == 0


def test_usage_of_an_abandoned_message(shared_gateway, mock):
    """What an abandoned Anthropic stream had used when its client left is recorded: it will be billed."""
    body = message(fresh("[[mock chunk_ms=100 tokens=100]] some words to count"), stream=True)
    leave(shared_gateway, "/v1/messages", body, "abandoned-usage", after_event=True)
    mock.wait_for(lambda stats: stats["aborted"] == 1)
    row = wait_for_row(shared_gateway, "abandoned-usage")
    assert row["status_code"] == 499
    assert row["input_tokens"] > 0


def test_stream_usage_is_recorded_unasked(shared_gateway):
    """Usage of a stream is recorded though its client did not ask to see it."""
    with shared_gateway.client() as client:
        reply = client.post("/v1/chat/completions", json=chat(fresh("some words"), stream=True))
    row = row_of(shared_gateway, reply)
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0
    assert row["streamed"]


@pytest.mark.parametrize(("path", "build"), PATHS)
def test_large_streams_pass(shared_gateway, path, build):
    """A stream of thousands of events passes whole."""
    with shared_gateway.client() as client:
        reply = client.post(path, json=build(fresh("[[mock tokens=3000]]"), stream=True, max_tokens=9000))
    assert reply.text.count("data:") > 3000
    assert get_row(shared_gateway, reply.headers["x-request-id"])["output_tokens"] == 3000


def test_a_slow_reader_gets_everything(shared_gateway):
    """A client that reads slowly gets every byte."""
    body = chat(fresh("[[mock big=3000000 chunk_chars=10000]]"), stream=True)
    size = 0
    with httpx.stream(
        "POST",
        f"{shared_gateway.url}/v1/chat/completions",
        json=body,
        trust_env=False,
        headers={"authorization": f"Bearer {shared_gateway.key}"},
    ) as reply:
        time.sleep(0.5)
        for piece in reply.iter_raw():
            size += len(piece)
    assert size > 3_000_000
    assert find_rows(shared_gateway, reply.headers["x-request-id"])[0]["response_bytes"] == size
