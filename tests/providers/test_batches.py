"""The vendors' batches as tables: what is written, and what every answer, however odd, is read as."""

import json
from uuid import UUID

import pytest

from app.providers.batches import (
    ANTHROPIC_BATCHES,
    BATCH_PROTOCOLS,
    OPENAI_BATCHES,
    LineReader,
    Remote,
    RemoteResult,
    build_create_body,
    build_custom_id,
    judge_status,
    list_leftovers,
    list_result_paths,
    read_custom_id,
    read_file_id,
)

BATCH = UUID("0190a3f4-7b7e-7c3a-9d7e-0123456789ab")
ODD = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"<html>",
    b'{"id": 5}',
    b'{"id": "../x"}',
    b'{"id": "a b"}',
    b"\xff\xfe",
    b"[" * 5000,
]


def test_a_request_of_openai_is_one_line():
    """The body stands in the line as it is, without the newlines that a pretty one has between its values."""
    body = b'{\n "model": "m",\r\n "x": 1.10,\n "text": "a\\nb" }'
    line = OPENAI_BATCHES.write_request("c-1", "/v1/chat/completions", body)
    assert b"\n" not in line
    assert b"1.10" in line
    expected = {"model": "m", "x": 1.1, "text": "a\nb"}
    assert json.loads(line) == {"custom_id": "c-1", "method": "POST", "url": "/v1/chat/completions", "body": expected}


def test_a_body_without_newlines_stays_as_it_is():
    """Byte for byte, the order of its fields and its numbers included."""
    body = b'{"b": 1.50,  "a": 1e3}'
    assert body in OPENAI_BATCHES.write_request("c-1", "/v1/chat/completions", body)
    assert body in ANTHROPIC_BATCHES.write_request("c-1", "/v1/messages", body)


def test_requests_of_anthropic_make_one_body():
    """What stands around and between the requests makes them the body that creates a batch."""
    envelope = ANTHROPIC_BATCHES.envelope
    requests = [ANTHROPIC_BATCHES.write_request(f"c-{n}", "/v1/messages", b'{"model": "m"}') for n in range(2)]
    body = envelope.head + envelope.between.join(requests) + envelope.tail
    params = {"model": "m"}
    assert json.loads(body) == {"requests": [{"custom_id": f"c-{n}", "params": params} for n in range(2)]}


def test_limits_are_the_vendors():
    """As documented by them."""
    limits = {name: (one.max_requests, one.max_bytes) for name, one in BATCH_PROTOCOLS.items()}
    assert limits == {"openai": (50_000, 200_000_000), "anthropic": (100_000, 256_000_000)}


def test_the_body_that_creates_a_batch_carries_our_mark():
    """So that a batch can be found again after a crash."""
    assert json.loads(build_create_body("file-1", "/v1/embeddings", str(BATCH))) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
        "metadata": {"relaycore_batch": str(BATCH)},
    }


def test_the_name_of_a_request_leads_back_to_it():
    """It fits Anthropic's narrow rules."""
    name = build_custom_id(BATCH, 99_999)
    assert len(name) <= 64
    assert name.replace("-", "").isalnum()
    assert read_custom_id(name) == (BATCH, 99_999)


@pytest.mark.parametrize(
    "name", ["", "x", BATCH.hex, f"{BATCH}-1", f"{BATCH.hex}-01", f"{BATCH.hex}-1\n", f"{BATCH.hex}--1"]
)
def test_names_of_others_lead_nowhere(name):
    """What a vendor says is not taken at its word."""
    assert read_custom_id(name) is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating", "working"),
        ("in_progress", "working"),
        ("finalizing", "working"),
        ("cancelling", "working"),
        ("completed", "ended"),
        ("expired", "ended"),
        ("cancelled", "ended"),
        ("failed", "failed"),
    ],
)
def test_how_a_batch_of_openai_stands(status, state):
    """A batch that ended early has results like any other."""
    found = OPENAI_BATCHES.read_batch(json.dumps({"id": "batch_1", "object": "batch", "status": status}).encode())
    assert found == Remote(id="batch_1", state=state)


@pytest.mark.parametrize(
    "said",
    [
        {"id": "batch_1", "object": "chat.completion", "status": "completed"},
        {"id": "chatcmpl-1", "status": "in_progress"},
        {"id": "batch_1", "object": "batch"},
        *({"id": "batch_1", "object": "batch", "status": one} for one in ("something new", None, 5, ["completed"])),
    ],
)
def test_what_is_no_batch_of_openai(said):
    """What says that it is something else, or nothing that is known of how it stands, is not waited for."""
    assert OPENAI_BATCHES.read_batch(json.dumps(said).encode()) is None


@pytest.mark.parametrize(
    "said",
    [
        {"id": "msg_1", "type": "message", "processing_status": "ended"},
        {"id": "msg_1", "processing_status": "ended"},
        *({"id": "msgbatch_1", "type": "message_batch", "processing_status": one} for one in ("new", None, 5, [])),
    ],
)
def test_what_is_no_batch_of_anthropic(said):
    """As with OpenAI's."""
    assert ANTHROPIC_BATCHES.read_batch(json.dumps(said).encode()) is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"id": "file-1", "object": "file"}, "file-1"),
        ({"id": "0190", "object": "file"}, "0190"),
        ({"id": "file-1"}, "file-1"),
        ({"id": "file-1", "object": "chat.completion"}, None),
        ({"id": "chatcmpl-1"}, None),
        ({"id": "chatcmpl-1", "object": "chat.completion"}, None),
    ],
)
def test_what_is_an_uploaded_file(said, name):
    """What says that it is one, and where nothing is said what is named like one."""
    assert read_file_id(json.dumps(said).encode()) == name


def test_a_batch_that_does_not_say_what_it_is():
    """Servers that speak a vendor's language leave it out: then its name tells."""
    assert OPENAI_BATCHES.read_batch(b'{"id": "batch-1", "status": "completed"}') == Remote(id="batch-1", state="ended")
    found = ANTHROPIC_BATCHES.read_batch(b'{"id": "msgbatch_1", "processing_status": "ended"}')
    assert found == Remote(id="msgbatch_1", state="ended")


def test_what_a_batch_of_openai_says():
    """Its files, its size, our mark and why it failed; ids that could lead elsewhere are no ids."""
    said = {
        "id": "batch_1",
        "object": "batch",
        "status": "failed",
        "output_file_id": "file-a",
        "error_file_id": "../../admin",
        "request_counts": {"total": 3, "completed": 0},
        "metadata": {"relaycore_batch": "mine"},
        "created_at": 17,
        "errors": {"data": [{"code": "token_limit_exceeded", "message": "m"}]},
    }
    found = OPENAI_BATCHES.read_batch(json.dumps(said).encode())
    assert found == Remote(
        id="batch_1",
        state="failed",
        files=("file-a",),
        total=3,
        mark="mine",
        created=17.0,
        error="token_limit_exceeded",
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [("in_progress", "working"), ("canceling", "working"), ("ended", "ended")],
)
def test_how_a_batch_of_anthropic_stands(status, state):
    """Its size is the sum of its counts."""
    counts = {"processing": 1, "succeeded": 2, "errored": 3, "canceled": 4, "expired": 5}
    said = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": "1970-01-01T00:00:09Z",
    }
    found = ANTHROPIC_BATCHES.read_batch(json.dumps(said).encode())
    assert found == Remote(id="msgbatch_1", state=state, total=15, created=9.0)


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("name", BATCH_PROTOCOLS)
def test_odd_bytes_are_nothing(name, body):
    """Whatever a vendor answers with, reading it fails nobody."""
    protocol = BATCH_PROTOCOLS[name]
    assert protocol.read_batch(body) is None
    assert protocol.read_batches(body) == []
    assert protocol.read_result(body) is None
    assert read_file_id(body) is None


@pytest.mark.parametrize("name", BATCH_PROTOCOLS)
def test_what_is_odd_in_a_list_is_left_out(name):
    """The others are read."""
    one = {"object": "batch", "type": "message_batch", "status": "completed", "processing_status": "ended"}
    page = {"data": [{"id": "one", **one}, None, 5, {"id": "", **one}, {"id": "odd"}, {"id": "two", **one}]}
    found = BATCH_PROTOCOLS[name].read_batches(json.dumps(page).encode())
    assert [one.id for one in found] == ["one", "two"]


def response(status, body='{"a": 1}'):
    return f'{{"custom_id": "c", "response": {{"status_code": {status}, "request_id": "q", "body": {body}}}}}'


@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        (response(200), "answered", 200),
        (response(400), "refused", 400),
        (response(404), "refused", 404),
        (response(401), "failed", 401),
        (response(429), "failed", 429),
        (response(500), "failed", 500),
        (response(0), "failed", 0),
        ('{"custom_id": "c", "response": null, "error": {"code": "batch_expired"}}', "expired", 0),
        ('{"custom_id": "c", "response": null, "error": {"code": "batch_cancelled"}}', "cancelled", 0),
        ('{"custom_id": "c", "response": null, "error": {"code": 7}}', "failed", 0),
        ('{"custom_id": "c"}', "failed", 0),
    ],
)
def test_lines_of_openai(line, kind, status):
    """What is wrong with a request is its result; what went wrong at the vendor is not."""
    found = OPENAI_BATCHES.read_result(line.encode())
    assert found is not None
    assert (found.custom_id, found.kind, found.status) == ("c", kind, status)


def test_the_answer_in_a_line_of_openai_stays_as_it_came():
    """Byte for byte."""
    found = OPENAI_BATCHES.read_result(response(200, '{"x": 1.50}').encode())
    expected = RemoteResult(custom_id="c", kind="answered", status=200, body=b'{"x": 1.50}', request_id="q")
    assert found == expected


def outcome(text):
    return f'{{"custom_id": "c", "result": {text}}}'


@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        (outcome('{"type": "succeeded", "message": {"id": "m"}}'), "answered", 200),
        (outcome('{"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}'), "refused", 400),
        (outcome('{"type": "errored", "error": {"error": {"type": "not_found_error"}}}'), "refused", 404),
        (outcome('{"type": "errored", "error": {"error": {"type": "overloaded_error"}}}'), "failed", 529),
        (outcome('{"type": "errored", "error": {"error": {"type": "permission_error"}}}'), "failed", 403),
        (outcome('{"type": "errored", "error": {"error": {"type": "news"}}}'), "failed", 500),
        (outcome('{"type": "errored", "error": 5}'), "failed", 500),
        (outcome('{"type": "errored"}'), "failed", 500),
        (outcome('{"type": "canceled"}'), "cancelled", 0),
        (outcome('{"type": "expired"}'), "expired", 0),
        (outcome('{"type": "news"}'), "failed", 0),
    ],
)
def test_lines_of_anthropic(line, kind, status):
    """The kinds of errors stand for statuses."""
    found = ANTHROPIC_BATCHES.read_result(line.encode())
    assert found is not None
    assert (found.custom_id, found.kind, found.status) == ("c", kind, status)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "good"),
        (201, "good"),
        (301, "refused"),
        (400, "refused"),
        (401, "refused"),
        (404, "gone"),
        (405, "gone"),
        (408, "again"),
        (409, "again"),
        (429, "again"),
        (500, "again"),
        (501, "gone"),
        (503, "again"),
        (529, "again"),
    ],
)
def test_what_a_status_means(status, verdict):
    """Only what may pass is asked again."""
    assert judge_status(status) == verdict


def test_results_are_only_fetched_from_the_provider_itself():
    """No address in an answer is followed."""
    assert list_result_paths(OPENAI_BATCHES, "batch_1", ["f1", "f2"]) == ["/files/f1/content", "/files/f2/content"]
    assert list_result_paths(ANTHROPIC_BATCHES, "msgbatch_1", []) == ["/v1/messages/batches/msgbatch_1/results"]
    assert list_leftovers(OPENAI_BATCHES, "batch_1", ["f1"]) == ["/files/f1"]
    assert list_leftovers(ANTHROPIC_BATCHES, "msgbatch_1", []) == ["/v1/messages/batches/msgbatch_1"]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64])
def test_lines_come_whole_whatever_the_cut(cut):
    """Empty lines are none, one that is too long is left out, and the last needs no newline."""
    data = b"one\n\n  \r\ntwo\n" + b"x" * 50 + b"\nthree\n" + b"y" * 50 + b"\nlast"
    reader = LineReader(20)
    found = [line for start in range(0, len(data), cut) for line in reader.feed(data[start : start + cut])]
    assert [*found, *reader.close()] == [b"one", b"two", b"three", b"last"]
