"""Same dialect in and out: bodies and answers pass byte for byte, but for what the gateway has to change."""

import gzip
import json

import pytest

from tests.acceptance.support import chat, data_of, fresh, send_path

NESTED = "[" * 400 + "]" * 400
ODD_BODIES = [
    b'{"messages":[{"role":"user","content":"hi"}],"model":"gpt-4o","seed":9007199254740993}',
    b'{"model":"gpt-4o","messages":[{"content":"hi","role":"user"}],"temperature":1.10,"x":1e-7,"y":-0.0,"z":1E+2}',
    b'{\r\n  "model" :\t"gpt-4o" , "messages" : [ { "content":"hi" } ]\n , "zz":1, "aa":{"b":1,"a":2} }\n',
    b'{"model":"gpt-4o","messages":[{"content":"\\u00e9\xc3\xa9\\ud83d\\ude00\\/ \\u0000 \\b"}],"unknown":[]}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"a":1,"a":2,"n":123456789012345678901234567890}',
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"deep":' + NESTED.encode() + b"}",
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"long":"' + b"x" * 300_000 + b'"}',
]


def post(gateway, body, path="/v1/chat/completions", **headers):
    return send_path(gateway, "POST", path, body, **headers)


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/openai/chat/completions", "/v1/messages", "/v1/audio/x"])
def test_bodies_go_up_as_they_came(vendors, provider, body, path):
    """A body whose model needs no other name arrives with every byte it had: big numbers, odd order, white space."""
    if path == "/v1/messages":
        body = body.replace(b"gpt-4o", b"claude-opus-4-5")
    provider.answer_next(b'{"choices":[],"content":[],"id":"x"}')
    assert post(vendors, body, path, content_type="application/json", x_aihub_cache="bypass").status == 200
    assert provider.last().body == body


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_a_renamed_model_changes_nothing_else(vendors, provider, body):
    """With `provider/model` only the model's name changes; every other value keeps its bytes and its place."""
    provider.answer_next(b'{"choices":[]}')
    assert post(vendors, body.replace(b"gpt-4o", b"openai/gpt-4o"), x_aihub_cache="bypass").status == 200
    arrived = provider.last().body
    assert list(json.loads(arrived)) == list(json.loads(body))
    assert json.loads(arrived) == json.loads(body)
    for literal in (
        b"9007199254740993",
        b"1.10",
        b"1E+2",
        b"-0.0",
        b"\\ud83d\\ude00\\/",
        b"123456789012345678901234567890",
    ):
        assert (literal in arrived) is (literal in body)


@pytest.mark.parametrize(
    ("options", "arrives"),
    [
        (b"", b'{"include_usage":true}'),
        (b',"stream_options":null', b'{"include_usage":true}'),
        (b',"stream_options":{}', b'{"include_usage":true}'),
        (b',"stream_options":{"include_usage":false}', b'{"include_usage":true}'),
        (b',"stream_options":{"include_obfuscation":false}', b'{"include_obfuscation":false,"include_usage":true}'),
    ],
)
def test_only_usage_is_asked_for(vendors, provider, options, arrives):
    """A stream's usage is asked for on the client's behalf; the rest of its body stays as it is."""
    text = fresh().encode()
    start = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + text + b'"}],"x":1.10,"stream":true'
    reply = post(vendors, start + options + b"}")
    assert reply.status == 200
    assert provider.last().body == start + b',"stream_options":' + arrives + b"}"
    assert b'"usage"' not in reply.body


def test_a_stream_that_asks_for_usage_goes_up_unchanged(vendors, provider):
    """A body that asks for usage itself has nothing to be changed, and its client sees the usage."""
    body = b'{ "stream":true, "stream_options": {"include_usage" : true}, "model":"gpt-4o", "messages":'
    body += b'[{"role":"user","content":"%b"}]}' % fresh().encode()
    reply = post(vendors, body)
    assert provider.last().body == body
    assert b'"usage"' in reply.body


ANSWER = (
    b'{ "id":"x",\n"unknown": {"b":9007199254740993, "a":1.10}, "choices" : [{"index":0,"message":{'
    b'"content":"\\u00e9\xc3\xa9","role":"assistant"},"finish_reason":"stop"}], '
    b'"usage":{"prompt_tokens":1,"completion_tokens":2} , "model":"gpt-4o"}\n'
)
MESSAGE = (
    b'{ "id":"x", "type":"message",\n "content":[ {"type":"new_block","n":9007199254740993} ], '
    b'"stop_reason":"end_turn",'
    b' "usage":{"input_tokens":1,"output_tokens":2,"new":1.10} }'
)


@pytest.mark.parametrize(("path", "answer"), [("/v1/chat/completions", ANSWER), ("/v1/messages", MESSAGE)])
def test_answers_come_back_as_they_are(vendors, provider, path, answer):
    """A whole answer has every byte the provider sent, and so has its replay from the cache."""
    model = "claude-opus-4-5" if "messages" in path else "gpt-4o"
    body = json.dumps(chat(fresh(), model, max_tokens=5)).encode()
    provider.answer_next(answer)
    first, second = post(vendors, body, path), post(vendors, body, path)
    assert (first.body, second.body) == (answer, answer)
    assert second.headers["x-aihub-cache-status"] == "hit"
    assert provider.count() == 1


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/files"])
@pytest.mark.parametrize("streamed", [False, True])
def test_error_bodies_come_back_as_they_are(vendors, provider, status, path, streamed):
    """A provider's refusal keeps its status, its bytes and its `retry-after`, also when a stream was asked for."""
    if path == "/v1/messages":
        error = b'{"type":"error", "error":{"type":"x_error","message":"too long: 9007199254740993"},"n":1.10}'
    else:
        error = b'{ "error":{"message":"No \\u00e9", "type":"new_type","param":null,"code":7,"extra":[1.10]} }\n'
    provider.answer_next(error, status=status, headers={"retry-after": "7"})
    model = "claude-opus-4-5" if "messages" in path else "gpt-4o"
    body = json.dumps(chat(fresh(), model, stream=streamed)).encode()
    reply = post(vendors, body, path, content_type="application/json")
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (status, error, "7")
    assert reply.headers["content-type"] == "application/json"


CHUNK = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"new":1.10}\n\n'
FINISH = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
ODD_EVENTS = [
    b": a comment\n\n",
    b'event: unheard_of\ndata: {"a":9007199254740993}\nid: 7\nretry: 10\n\n',
    b'data: {"choices":[],\ndata: "two":"lines"}\n\n',
    b'data:{"choices":[{"index":0,"delta":{"content":"\\u00e9\xc3\xa9"}}]}\r\n\r\n',
]


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("cut", ["events", "bytes", "one"])
def test_streams_come_back_as_they_are(vendors, provider, asks, cut):
    """Unknown events, comments and odd line ends pass, however they are cut; only our own usage chunk is taken out."""
    events = [CHUNK, *ODD_EVENTS, FINISH, USAGE, DONE]
    whole = b"".join(events)
    sent = {"events": events, "bytes": [whole[i : i + 7] for i in range(0, len(whole), 7)], "one": [whole, b""]}[cut]
    provider.answer_next(*sent, headers={"content-type": "text/event-stream"})
    options = {"stream_options": {"include_usage": True}} if asks else {}
    body = json.dumps(chat(fresh(), "gpt-4o", stream=True, **options)).encode()
    expected = whole if asks else whole.replace(USAGE, b"")
    first = post(vendors, body)
    assert first.body == expected
    assert post(vendors, body).body == expected


def test_null_usage_is_hidden_as_well(vendors, provider):
    """`usage: null`, which providers send only when usage was asked for, is not shown to a client that did not ask."""
    null = CHUNK.replace(b',"new"', b',"usage":null,"new"')
    provider.answer_next(null, FINISH, USAGE, DONE, headers={"content-type": "text/event-stream"})
    reply = post(vendors, json.dumps(chat(fresh(), "gpt-4o", stream=True)).encode())
    assert reply.body == CHUNK + FINISH + DONE


def test_usage_beside_choices_stays(vendors, provider):
    """Usage that a provider sends together with a choice is part of its answer."""
    both = FINISH.replace(b"}]}", b'}],"usage":{"prompt_tokens":3,"completion_tokens":2}}')
    provider.answer_next(CHUNK, both, DONE, headers={"content-type": "text/event-stream"})
    reply = post(vendors, json.dumps(chat(fresh(), "gpt-4o", stream=True)).encode())
    assert reply.body == CHUNK + both + DONE


MESSAGE_EVENTS = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}\n\n',
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b": a comment\n\n",
    b'event: new_event\ndata: {"type":"new_event","n":9007199254740993}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]


def test_message_streams_come_back_as_they_are(vendors, provider):
    """An Anthropic stream has every byte the provider sent, usage included, and so has its replay."""
    provider.answer_next(*MESSAGE_EVENTS, headers={"content-type": "text/event-stream; charset=utf-8"})
    body = json.dumps(chat(fresh(), "claude-opus-4-5", stream=True, max_tokens=5)).encode()
    first, second = post(vendors, body, "/v1/messages"), post(vendors, body, "/v1/messages")
    assert first.body == second.body == b"".join(MESSAGE_EVENTS)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
def test_a_compressed_answer_is_read(vendors, provider, path):
    """A provider that compresses unasked is understood; its client gets plain bytes of the right length."""
    provider.answer_next(gzip.compress(ANSWER), headers={"content-encoding": "gzip"})
    reply = post(vendors, json.dumps(chat(fresh(), "gpt-4o")).encode(), path, content_type="application/json")
    assert reply.body == ANSWER
    assert "content-encoding" not in reply.headers


def test_uploads_pass_untouched(vendors, provider):
    """A multipart upload arrives byte for byte, with its content type."""
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--b--\r\n'
    provider.answer_next(b'{"id":"file-1"}')
    reply = post(vendors, body, "/v1/files", content_type="multipart/form-data; boundary=b")
    assert reply.status == 200
    arrived = provider.last()
    assert (arrived.body, arrived.headers["content-type"]) == (body, "multipart/form-data; boundary=b")


def test_data_lines_of_a_hit_are_complete(vendors):
    """A replayed stream ends with its end marker like the first one."""
    body = json.dumps(chat(fresh(), "gpt-4o", stream=True)).encode()
    first, second = post(vendors, body), post(vendors, body)
    assert data_of(first.body.decode())[-1] == data_of(second.body.decode())[-1] == "[DONE]"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
def test_an_object_in_an_unknown_form_passes(vendors, provider, path):
    """A 200 with a JSON object that is not the endpoint's usual one is the provider's answer: passed on, never kept."""
    answer = b'{"object":"new.form", "data":{"n":9007199254740993}}'
    model = "claude-opus-4-5" if "messages" in path else "gpt-4o"
    body = json.dumps(chat(fresh(), model, max_tokens=5)).encode()
    for _ in range(2):
        provider.answer_next(answer)
        reply = post(vendors, body, path)
        assert (reply.status, reply.body, reply.headers["x-aihub-cache-status"]) == (200, answer, "miss")
