"""Reading streams while they pass: the same bytes and the same facts wherever the reads are cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.providers.endpoints import ENDPOINTS
from app.providers.openai_tap import OpenAITap
from app.providers.protocol import StreamTap
from app.providers.sse import EVENT_CAP
from app.wire.usage import Facts, Usage
from tests.providers.samples import (
    CHAT_STREAM,
    CHAT_STREAM_HIDDEN,
    MESSAGE_STREAM,
    RESPONSE_STREAM,
    chunk,
    delta,
    named,
    sse,
)

CHAT_FACTS = Facts(
    usage=Usage(input_tokens=40, cache_read_tokens=60, output_tokens=10, reasoning_tokens=30),
    model="gpt-4o-2024-08-06",
    complete=True,
)
MESSAGE_FACTS = Facts(
    usage=Usage(
        input_tokens=25, cache_read_tokens=7, cache_write_5m_tokens=40, output_tokens=15, service_tier="standard"
    ),
    model="claude-sonnet-4-5-20250929",
    complete=True,
)
RESPONSE_FACTS = Facts(
    usage=Usage(
        input_tokens=30,
        cache_read_tokens=20,
        output_tokens=20,
        reasoning_tokens=10,
        web_searches=1,
        service_tier="default",
    ),
    model="gpt-4o-2024-08-06",
    complete=True,
)
# endpoint, hide_usage, stream, what the client gets, facts
STREAMS: dict[str, tuple[str, bool, bytes, bytes, Facts]] = {
    "chat": ("chat", False, CHAT_STREAM, CHAT_STREAM, CHAT_FACTS),
    "chat, hidden": ("chat", True, CHAT_STREAM, CHAT_STREAM_HIDDEN, CHAT_FACTS),
    "chat, CRLF": (
        "chat",
        True,
        CHAT_STREAM.replace(b"\n", b"\r\n"),
        CHAT_STREAM_HIDDEN.replace(b"\n", b"\r\n"),
        CHAT_FACTS,
    ),
    "chat, CR": (
        "chat",
        True,
        CHAT_STREAM.replace(b"\n", b"\r"),
        CHAT_STREAM_HIDDEN.replace(b"\n", b"\r"),
        CHAT_FACTS,
    ),
    "chat, BOM and no space": (
        "chat",
        True,
        b"\xef\xbb\xbf" + CHAT_STREAM.replace(b"data: ", b"data:"),
        b"\xef\xbb\xbf" + CHAT_STREAM_HIDDEN.replace(b"data: ", b"data:"),
        CHAT_FACTS,
    ),
    "chat, bytes after the end": ("chat", False, CHAT_STREAM + b"\n\ndata: {}\n\n", CHAT_STREAM, CHAT_FACTS),
    "messages": ("messages", False, MESSAGE_STREAM, MESSAGE_STREAM, MESSAGE_FACTS),
    "messages, nothing to hide": ("messages", True, MESSAGE_STREAM, MESSAGE_STREAM, MESSAGE_FACTS),
    "messages, after the end": ("messages", False, MESSAGE_STREAM + b": x\n\n", MESSAGE_STREAM, MESSAGE_FACTS),
    "responses": ("responses", False, RESPONSE_STREAM, RESPONSE_STREAM, RESPONSE_FACTS),
    "responses, after the end": (
        "responses",
        False,
        RESPONSE_STREAM + b"data: [DONE]\n\n",
        RESPONSE_STREAM,
        RESPONSE_FACTS,
    ),
}


def open_tap(endpoint: str, hide_usage: bool = False) -> StreamTap:
    tap = ENDPOINTS[endpoint].open_tap
    assert tap is not None
    return tap(hide_usage)


def feed(endpoint: str, stream: bytes, hide_usage: bool = False) -> tuple[bytes, StreamTap]:
    tap = open_tap(endpoint, hide_usage)
    return tap.feed(stream), tap


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 64, 1_000_000])
def test_reads_of_any_size(name: str, size: int) -> None:
    """What the client gets and what we know do not depend on how the bytes come."""
    endpoint, hide, stream, forwarded, facts = STREAMS[name]
    tap = open_tap(endpoint, hide)
    got = b"".join(tap.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert (got, tap.facts(), tap.finished, tap.failed) == (forwarded, facts, True, False)


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_at_every_byte(name: str) -> None:
    """Two reads, cut anywhere: the same bytes and facts."""
    endpoint, hide, stream, forwarded, facts = STREAMS[name]
    for cut in range(len(stream)):
        tap = open_tap(endpoint, hide)
        assert tap.feed(stream[:cut]) + tap.feed(stream[cut:]) == forwarded
        assert tap.facts() == facts


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
def test_a_truncated_stream_is_never_complete(name: str) -> None:
    """Wherever a stream breaks off, it is not finished, not complete, and no partial event was forwarded."""
    endpoint, hide, stream, forwarded, _ = STREAMS[name]
    for cut in range(len(stream)):
        got, tap = feed(endpoint, stream[:cut], hide)
        assert forwarded.startswith(got)
        assert not got or got.endswith(b"\n\n")
        assert not tap.finished
        assert not tap.facts().complete


def test_whole_events_pass_as_the_same_object() -> None:
    """When nothing has to be removed, the read is forwarded without a copy."""
    assert open_tap("chat").feed(CHAT_STREAM) is CHAT_STREAM
    event = chunk(delta(b'{"content":"x"}'))
    assert open_tap("chat").feed(event) is event


STOP = delta(b"{}", b'"stop"')
USAGE_BYTES = b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'


@pytest.mark.parametrize(
    ("events", "hidden"),
    [
        (chunk(STOP, b',"usage": ' + USAGE_BYTES), None),
        (chunk(STOP, b' , "usage" : ' + USAGE_BYTES), None),
        (chunk(STOP, b"") + chunk(b"[]", b',"usage" : ' + USAGE_BYTES), chunk(STOP, b"")),
        (chunk(STOP, b', "usage": null') + chunk(b"[]", b', "usage": ' + USAGE_BYTES), chunk(STOP, b"")),
        (
            chunk(delta(b"{}"), b',"usage":{"prompt_tokens":3,"completion_tokens":1}')
            + chunk(STOP, b',"usage":' + USAGE_BYTES),
            None,
        ),
        (
            b'data: {"usage":null,"model":"m","choices":[{"finish_reason":"stop"}]}\n\n'
            + chunk(b"[]", b',"usage":' + USAGE_BYTES),
            b'data: {"model":"m","choices":[{"finish_reason":"stop"}]}\n\n',
        ),
        (b"data: {\ndata: " + chunk(b"[]", b',"usage":' + USAGE_BYTES)[7:] + chunk(STOP, b""), chunk(STOP, b"")),
    ],
    ids=["with choices", "spaces", "usage chunk", "null spaced", "on every chunk", "null first", "data on two lines"],
)
def test_usage_is_read_and_hidden_wherever_vendors_put_it(events: bytes, hidden: bytes | None) -> None:
    """The last usage object wins; only a chunk that carries nothing else, and `null`, is hidden."""
    stream = events + b"data: [DONE]\n\n"
    got, tap = feed("chat", stream, hide_usage=True)
    assert got == (stream if hidden is None else hidden + b"data: [DONE]\n\n")
    assert tap.facts().usage == Usage(input_tokens=3, output_tokens=2)
    assert tap.facts().complete


def test_a_stored_stream_can_be_hidden_later() -> None:
    """What is stored carries usage; hide_usage makes of it what a client without it would have got."""
    hide_usage = ENDPOINTS["chat"].hide_usage
    assert hide_usage is not None
    assert hide_usage(CHAT_STREAM) == CHAT_STREAM_HIDDEN


ERROR = b'{"error":{"message":"boom","type":"server_error","code":null}}'


@pytest.mark.parametrize(
    ("endpoint", "stream"),
    [
        ("chat", sse(ERROR, done=False)),
        ("chat", CHAT_STREAM[: CHAT_STREAM.index(b"data: [DONE]")] + sse(ERROR)),
        ("chat", sse(b'{"object":"error","message":"m","code":40303}')),
        ("chat", b"event: error\ndata: boom\n\n"),
        ("completions", sse(ERROR)),
        ("messages", named({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})),
        ("responses", named({"type": "error", "code": "x", "message": "m", "sequence_number": 1})),
        ("responses", named({"type": "response.failed", "response": {"status": "failed", "error": {"code": "x"}}})),
        ("responses", sse(ERROR, done=False)),
    ],
)
def test_an_error_event_passes_and_spoils_the_stream(endpoint: str, stream: bytes) -> None:
    """An error event goes to the client as it is; the stream has failed and is not complete."""
    got, tap = feed(endpoint, stream)
    assert got == stream
    assert tap.failed
    assert not tap.facts().complete


@pytest.mark.parametrize(
    ("endpoint", "stream"),
    [
        ("chat", sse(b'{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}')),
        ("chat", sse(b'{"choices":[{"finish_reason":"stop"}]}', b'{"usage":{ broken')),
        ("chat", sse()),
        ("messages", named({"type": "message_stop"})),
        ("messages", named({"type": "message_start", "message": {}}, {"type": "message_stop"})),
        ("messages", MESSAGE_STREAM.replace(b'"usage":{"output_tokens":15}', b'"usage":{')),
        ("responses", named({"type": "response.incomplete", "response": {"status": "incomplete", "output": []}})),
        ("responses", named({"type": "response.cancelled", "response": {"status": "cancelled", "output": []}})),
        ("responses", named({"type": "response.completed", "response": {"status": "queued", "output": []}})),
        ("responses", named({"type": "response.completed", "response": 1}) + RESPONSE_STREAM),
    ],
)
def test_an_end_marker_alone_makes_nothing_complete(endpoint: str, stream: bytes) -> None:
    """A stream that ended without a finish reason, or with events that cannot be read, is not complete."""
    got, tap = feed(endpoint, stream)
    assert got == stream
    assert tap.finished
    assert not tap.failed
    assert not tap.facts().complete


def test_a_null_error_is_no_error() -> None:
    """Some vendors send `"error": null` with every chunk."""
    _, tap = feed("chat", sse(b'{"error":null,"model":"m","choices":[{"finish_reason":"length"}]}'))
    assert tap.facts() == Facts(model="m", complete=True)


def test_an_interrupted_message_tells_what_it_cost_so_far() -> None:
    """The input side comes first and the output is cumulative: both are known when the stream breaks."""
    got, tap = feed("messages", MESSAGE_STREAM[: MESSAGE_STREAM.index(b"event: content_block_start")])
    assert got
    assert tap.facts() == Facts(
        usage=Usage(
            input_tokens=25, cache_read_tokens=7, cache_write_5m_tokens=40, output_tokens=1, service_tier="standard"
        ),
        model="claude-sonnet-4-5-20250929",
    )


def test_without_usage_there_is_none() -> None:
    """No usage in the stream is None, not zero."""
    for name in ("chat", "messages", "responses"):
        assert feed(name, b": ping\n\n")[1].facts() == Facts()


def test_an_endless_event_is_refused() -> None:
    """A tap holds back no more than the cap."""
    tap = OpenAITap(hide_usage=False)
    assert tap.feed(b"x" * EVENT_CAP) == b""
    with pytest.raises(UpstreamFailure):
        tap.feed(b"x")


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
def test_damaged_streams_neither_crash_nor_lose_order(name: str) -> None:
    """Streams with random damage: no exception, and without hiding what passes is a prefix of what came."""
    endpoint, _, stream, _, _ = STREAMS[name]
    dice = random.Random(7)
    for _ in range(300):
        damaged = bytearray(stream)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        size = dice.randint(1, 200)
        tap = open_tap(endpoint)
        got = b"".join(tap.feed(bytes(damaged[at : at + size])) for at in range(0, len(damaged), size))
        assert bytes(damaged).startswith(got)
        tap.facts()


@given(st.sampled_from(["chat", "completions", "messages", "responses"]), st.booleans(), st.lists(st.binary()))
def test_no_bytes_make_a_tap_raise(endpoint: str, hide: bool, reads: list[bytes]) -> None:
    """Whatever bytes come, a tap forwards and reports; it does not raise."""
    tap = open_tap(endpoint, hide)
    for read in reads:
        tap.feed(read)
    tap.facts()
