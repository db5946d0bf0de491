"""Every endpoint against bodies that no provider should send but some do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Dialect
from app.providers.endpoints import ENDPOINTS
from app.wire.usage import Facts, Usage
from tests.providers.samples import CHAT, COMPLETION, EMBEDDING, MESSAGE, RESPONSE, compact

COUNT = {"input_tokens": 14}
WHOLE = {
    "chat": CHAT,
    "completions": COMPLETION,
    "embeddings": EMBEDDING,
    "responses": RESPONSE,
    "messages": MESSAGE,
    "count_tokens": COUNT,
}
HOSTILE = {
    "empty": b"",
    "white space": b" \r\n",
    "null": b"null",
    "true": b"true",
    "a number": b"12",
    "a string": b'"ok"',
    "a list": b"[]",
    "an empty object": b"{}",
    "HTML": b"<!doctype html><html><body>502 Bad Gateway</body></html>",
    "a stream": b'data: {"id":"x"}\n\n',
    "cut": b'{"id":"x","choices":[{"mess',
    "two objects": b"{}{}",
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "not UTF-8": b'{"id":"\xff\xfe"}',
    "a control character": b'{"id":"\x00"}',
    "NaN": b'{"id":NaN}',
    "gzip": b"\x1f\x8b\x08\x00\x00",
    "deep lists": b'{"choices":' + b"[" * 100_000,
    "deep objects": b'{"x":' * 50_000 + b"1" + b"}" * 50_000,
    "a huge number": b'{"choices":' + b"9" * 5_000 + b"}",
    "wrong types": b'{"choices":{},"data":{},"content":{},"output":{},"input_tokens":{}}',
    "lists of wrong things": b'{"choices":[1],"data":[1],"content":[1],"output":[1],"input_tokens":[1]}',
    "nulls": b'{"choices":null,"data":null,"content":null,"output":null,"input_tokens":null}',
    "a model that is none": b'{"model":{},"choices":[],"data":[],"content":[],"output":[],"input_tokens":-1}',
}
SHAPES = {name: compact(body) for name, body in WHOLE.items()}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3) | st.sampled_from(sorted(RESPONSE)), inner),
    max_leaves=10,
)


def test_every_endpoint_has_its_path_and_dialect() -> None:
    """The table names each path once; what streams can be tapped, written and joined."""
    assert {name: (endpoint.path, endpoint.dialect, endpoint.cacheable) for name, endpoint in ENDPOINTS.items()} == {
        "chat": ("/chat/completions", Dialect.OPENAI, True),
        "completions": ("/completions", Dialect.OPENAI, True),
        "embeddings": ("/embeddings", Dialect.OPENAI, True),
        "responses": ("/responses", Dialect.OPENAI, True),
        "messages": ("/v1/messages", Dialect.ANTHROPIC, True),
        "count_tokens": ("/v1/messages/count_tokens", Dialect.ANTHROPIC, False),
    }
    for name, endpoint in ENDPOINTS.items():
        streams = name not in {"embeddings", "count_tokens"}
        assert [bool(part) for part in (endpoint.open_tap, endpoint.write_stream, endpoint.write_whole)] == [
            streams
        ] * 3


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", HOSTILE)
def test_a_body_that_is_no_answer_is_a_value_error(endpoint: str, body: str) -> None:
    """Broken answers are refused with ValueError, the only exception a caller has to know."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is msgspec's or ours, the type is the contract
        ENDPOINTS[endpoint].read_facts(HOSTILE[body])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", HOSTILE)
def test_a_hostile_body_cannot_be_converted(endpoint: str, body: str) -> None:
    """Converting what is no answer raises ValueError or gives bytes, nothing else."""
    for convert in (
        ENDPOINTS[endpoint].write_stream and (lambda data: ENDPOINTS[endpoint].write_stream(data, True)),
        ENDPOINTS[endpoint].write_whole,
        ENDPOINTS[endpoint].write_whole
        and (lambda data: ENDPOINTS[endpoint].write_whole(b"event: message_start\ndata: " + data + b"\n\n")),
    ):
        if convert is not None:
            try:
                assert isinstance(convert(HOSTILE[body]), bytes)
            except ValueError:
                continue


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_whole_answer_is_complete(endpoint: str) -> None:
    """The vendors' own examples may be stored."""
    assert ENDPOINTS[endpoint].read_facts(SHAPES[endpoint]).complete


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("error", [b'{"message":"m"}', b'"boom"', b"1", b'{"type":"x","message":"m"}'])
def test_a_200_with_an_error_is_readable_but_not_complete(endpoint: str, error: bytes) -> None:
    """An error body goes to the client as it is and is never stored, alone or beside an answer."""
    read_facts = ENDPOINTS[endpoint].read_facts
    assert not read_facts(b'{"error":' + error + b"}").complete
    beside = SHAPES[endpoint].replace(b'"error":null,', b"")
    assert not read_facts(b'{"error":' + error + b"," + beside[1:]).complete


@pytest.mark.parametrize(
    ("endpoint", "old", "new", "complete"),
    [
        ("chat", b'"finish_reason":"stop"', b'"finish_reason":null', False),
        ("chat", b'"finish_reason":"stop"', b'"finish":"stop"', False),
        ("chat", b'"finish_reason":"stop"', b'"finish_reason":"length"', True),
        ("chat", b'"message":{', b'"msg":{', False),
        ("completions", b'"text":"uno"', b'"text":null', False),
        ("completions", b'"finish_reason":"length"', b'"finish_reason":null', False),
        ("responses", b'"completed","error"', b'"incomplete","error"', False),
        ("responses", b'"completed","error"', b'"failed","error"', False),
        ("responses", b'"completed","error"', b'"queued","error"', False),
        ("responses", b'"completed","error"', b'"in_progress","error"', False),
        ("messages", b'"stop_reason":"tool_use"', b'"stop_reason":null', False),
        ("messages", b'"stop_reason":"tool_use"', b'"stop_reason":"max_tokens"', True),
        ("embeddings", b'"embedding":[0.1,-0.25]', b'"embedding":"zczM"', True),
    ],
)
def test_what_makes_an_answer_complete(endpoint: str, old: bytes, new: bytes, complete: bool) -> None:
    """An answer without its finish is not complete; one that reached the caller's own length limit is."""
    assert old in SHAPES[endpoint]
    assert ENDPOINTS[endpoint].read_facts(SHAPES[endpoint].replace(old, new)).complete is complete


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"choices":[],"usage":{"prompt_tokens":1}}'])
def test_no_choice_is_no_answer(body: bytes) -> None:
    """An empty list of choices can be read and is not complete."""
    assert not ENDPOINTS["chat"].read_facts(body).complete


@pytest.mark.parametrize("usage", [b"null", b"[]", b'"no"', b"{}", b'{"prompt_tokens":"x"}', b'{"input_tokens":-1}'])
@pytest.mark.parametrize("endpoint", ["chat", "completions", "embeddings", "responses", "messages"])
def test_usage_that_cannot_be_read_is_none(endpoint: str, usage: bytes) -> None:
    """A strange usage object makes the usage unknown and the answer no less complete."""
    body = compact({key: value for key, value in WHOLE[endpoint].items() if key != "usage"})
    facts = ENDPOINTS[endpoint].read_facts(b'{"usage":' + usage + b"," + body[1:])
    assert facts.usage is None
    assert facts.complete


def test_facts_of_whole_answers() -> None:
    """Model, tier, token classes and searches come out of each shape; counting tokens has no usage."""
    read = {name: ENDPOINTS[name].read_facts(body) for name, body in SHAPES.items()}
    assert read["chat"].usage == Usage(
        input_tokens=40, cache_read_tokens=60, output_tokens=10, reasoning_tokens=30, service_tier="default"
    )
    assert read["embeddings"] == Facts(usage=Usage(input_tokens=8), model="text-embedding-3-small", complete=True)
    assert read["responses"].usage == Usage(
        input_tokens=30,
        cache_read_tokens=20,
        output_tokens=20,
        reasoning_tokens=10,
        web_searches=1,
        service_tier="default",
    )
    assert read["messages"].usage == Usage(
        input_tokens=10,
        cache_read_tokens=5,
        cache_write_5m_tokens=10,
        cache_write_1h_tokens=20,
        output_tokens=38,
        reasoning_tokens=12,
        web_searches=2,
        service_tier="standard",
    )
    assert read["count_tokens"] == Facts(complete=True)


@pytest.mark.parametrize("text", [rb"cut \ud83d", rb"\udc00\ud83d\\ud83d", rb"\ud83d\ude00"])
def test_half_an_emoji_does_not_make_an_answer_unreadable(text: bytes) -> None:
    """JSON's grammar allows a lone surrogate and some vendors cut text there."""
    body = SHAPES["chat"].replace("Hello, 世界!".encode(), text)
    assert ENDPOINTS["chat"].read_facts(body) == ENDPOINTS["chat"].read_facts(SHAPES["chat"])


@given(st.sampled_from(sorted(ENDPOINTS)), st.binary() | JSON.map(compact))
def test_read_facts_raises_nothing_but_value_errors(endpoint: str, body: bytes) -> None:
    """Whatever the bytes, facts or ValueError."""
    try:
        assert isinstance(ENDPOINTS[endpoint].read_facts(body), Facts)
    except ValueError:
        return


VALUES = (b"null", b"[]", b"{}", b"1", b"1.5", b"true", b'"x"', b"[null]", b'[{"index":"x"}]')


@pytest.mark.parametrize("endpoint", [name for name, endpoint in ENDPOINTS.items() if endpoint.write_stream])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_of_another_type_raises_nothing_but_value_errors(endpoint: str, value: bytes) -> None:
    """Every value of a whole answer and of its stream replaced in turn by one of another type."""
    known = ENDPOINTS[endpoint]
    stream = known.write_stream(SHAPES[endpoint], True)
    steps = (
        (SHAPES[endpoint], (known.read_facts, lambda data: known.write_stream(data, True))),
        (stream, (known.write_whole, lambda data: known.open_tap(True).feed(data))),
    )
    for source, functions in steps:
        for found in re.finditer(rb'(?<=":)(?:"[^"]*"|[\d.]+|null|true|\[\]|\{\})', source):
            damaged = source[: found.start()] + value + source[found.end() :]
            for function in functions:
                try:
                    function(damaged)
                except ValueError:
                    continue


@given(st.sampled_from(sorted(ENDPOINTS)), st.data())
def test_damaged_answers_raise_nothing_but_value_errors(endpoint: str, data: st.DataObject) -> None:
    """One wrong byte in a real answer: facts or ValueError, and so for its stream."""
    body = bytearray(SHAPES[endpoint])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    write_stream = ENDPOINTS[endpoint].write_stream
    for step in (ENDPOINTS[endpoint].read_facts, lambda damaged: write_stream and write_stream(damaged, True)):
        try:
            step(bytes(body))
        except ValueError:
            continue
