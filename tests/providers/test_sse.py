"""Cutting a stream into events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.providers.sse import Event, EventBuffer, read_event, split_events, write_event

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data: a",
        b"data:b",
        b": c",
        b"event: x",
        b"\xef\xbb\xbf",
        b"z",
        b"",
    ]
)


def feed_all(stream: bytes, size: int, cap: int = 1 << 20) -> bytes:
    buffer = EventBuffer(cap)
    return b"".join(buffer.feed(stream[at : at + size]) for at in range(0, len(stream), size))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_every_line_ending_ends_an_event(end: bytes, size: int) -> None:
    """An event ends at a blank line, whichever way lines end and wherever the bytes are cut."""
    stream = b"data: one" + end + b"event: x\ndata: two" + end + b"data: three" + end
    assert feed_all(stream, size) == stream
    assert len(list(split_events(stream))) == 3


def test_an_uncut_event_is_forwarded_as_the_same_object() -> None:
    """Whole events are not copied when nothing waits."""
    data = b"data: {}\n\n"
    assert EventBuffer().feed(data) is data


def test_a_partial_event_is_never_forwarded() -> None:
    """What came after the last blank line stays behind."""
    buffer = EventBuffer()
    assert buffer.feed(b"data: a\n\ndata: b\n") == b"data: a\n\n"
    assert buffer.feed(b"\n") == b"data: b\n\n"


def test_a_crlf_alone_is_no_blank_line() -> None:
    """CRLF is one line end, so an event with CRLF lines stays whole."""
    stream = b"event: x\r\ndata: y\r\n\r\n"
    assert list(split_events(stream)) == [stream]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_an_event_over_the_cap_is_refused(size: int) -> None:
    """A provider cannot make us hold more than the cap: the failure says too_large and that it had answered."""
    with pytest.raises(UpstreamFailure) as failure:
        feed_all(b"data: " + b"x" * 200, size, cap=100)
    assert (failure.value.kind, failure.value.answered) == ("too_large", True)


def test_many_small_events_pass_a_small_cap() -> None:
    """The cap is for one event, not for the stream."""
    stream = b"data: x\n\n" * 100
    assert feed_all(stream, 4, cap=20) == stream


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (b"data: a\n\n", Event(b"", b"a")),
        (b"data:a\n\n", Event(b"", b"a")),
        (b"data:  a\n\n", Event(b"", b" a")),
        (b"event: x\ndata: a\ndata: b\n\n", Event(b"x", b"a\nb")),
        (b"event:x\r\ndata:a\r\n\r\n", Event(b"x", b"a")),
        (b"\xef\xbb\xbfdata: a\n\n", Event(b"", b"a")),
        (b": ping\n\n", Event(b"", b"")),
        (b"id: 1\nretry: 3\ngarbage\ndata\ndata: a\n\n", Event(b"", b"\na")),
        ("data: \u2028\x85 é\n\n".encode(), Event(b"", "\u2028\x85 é".encode())),
    ],
)
def test_an_event_is_read_as_the_standard_says(raw: bytes, event: Event) -> None:
    """One space after the colon is dropped, data lines are joined, comments and unknown fields count for nothing."""
    assert read_event(raw) == event


def test_what_is_written_is_read_again() -> None:
    """write_event and read_event are inverse."""
    assert read_event(write_event(b"{}", b"x")) == Event(b"x", b"{}")
    assert read_event(write_event(b"{}")) == Event(b"", b"{}")


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 9))
def test_no_byte_is_lost_or_changed(stream: bytes, size: int) -> None:
    """For any bytes in any cut: what is forwarded is a prefix of the stream, and its events joined are it again."""
    whole = EventBuffer().feed(stream)
    assert stream.startswith(whole)
    assert b"".join(split_events(whole)) == whole
    cut = feed_all(stream, size)
    assert stream.startswith(cut)
    assert whole.rstrip(b"\r\n") == cut.rstrip(b"\r\n")
