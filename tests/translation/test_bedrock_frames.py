"""Cutting Bedrock's streams into frames, checked against botocore's own decoder."""

import contextlib
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamFailure
from app.translation.bedrock_frames import FRAME_CAP, Frame, FrameBuffer
from tests.translation.bedrock_samples import write_event, write_frame, write_header, write_text_answer

UUID = bytes(range(16))
EVERY_KIND = (
    bytes([1]) + b"a" + bytes([0])
    + bytes([1]) + b"b" + bytes([1])
    + write_header("c", struct.pack(">b", -2), 2)
    + write_header("d", struct.pack(">h", -3), 3)
    + write_header("e", struct.pack(">i", -4), 4)
    + write_header("f", struct.pack(">q", -(2**62)), 5)
    + write_header("g", b"\xff\0", 6)
    + write_header("h", "é".encode(), 7)
    + write_header("i", struct.pack(">q", 1700000000000), 8)
    + write_header("j", UUID, 9)
)  # fmt: skip


def test_every_kind_of_header_is_read() -> None:
    """Headers have ten kinds of values; a frame may have no payload."""
    (frame,) = FrameBuffer().feed(write_frame(b"", EVERY_KIND))
    assert frame == Frame(
        {
            "a": True,
            "b": False,
            "c": -2,
            "d": -3,
            "e": -4,
            "f": -(2**62),
            "g": b"\xff\0",
            "h": "é",
            "i": 1700000000000,
            "j": UUID,
        },
        b"",
    )
    assert frame.find("h") == "é"
    assert frame.find("c") == ""
    assert frame.find("z") == ""


def test_frames_are_those_that_botocore_reads() -> None:
    """AWS's own decoder sees the same headers and payloads."""
    stream = b"".join(write_text_answer()) + write_frame(b"x", EVERY_KIND)
    theirs = EventStreamBuffer()
    theirs.add_data(stream)
    expected = [(message.headers, message.payload) for message in theirs]
    assert [(frame.headers, frame.payload) for frame in FrameBuffer().feed(stream)] == expected


def test_a_stream_may_be_cut_anywhere() -> None:
    """The frames are the same whatever the cut, and each comes with its last byte."""
    frames = write_text_answer()
    stream = b"".join(frames)
    whole = FrameBuffer().feed(stream)
    assert len(whole) == len(frames)
    for cut in range(len(stream) + 1):
        buffer = FrameBuffer()
        assert buffer.feed(stream[:cut]) + buffer.feed(stream[cut:]) == whole
    buffer, ends = FrameBuffer(), []
    for place, byte in enumerate(stream, 1):
        ends += [place] * len(buffer.feed(bytes([byte])))
    assert ends == [sum(map(len, frames[: count + 1])) for count in range(len(frames))]


def test_every_damaged_bit_is_noticed() -> None:
    """Whatever bit is turned, no frame comes out: the checksums cover the beginning and the whole."""
    frame = write_event("contentBlockStop", {"contentBlockIndex": 0})
    for place in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(UpstreamFailure) as caught:
            FrameBuffer().feed(bytes(damaged))
        assert caught.value.kind == "protocol"
        assert caught.value.answered


def write_prelude(length: int, headers: int) -> bytes:
    prelude = struct.pack(">II", length, headers)
    return prelude + struct.pack(">I", zlib.crc32(prelude))


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (write_prelude(FRAME_CAP + 1, 0), "too_large"),
        (write_prelude(FRAME_CAP, 200_000), "protocol"),
        (write_prelude(15, 0), "protocol"),
        (write_prelude(0, 0), "protocol"),
        (write_prelude(20, 5), "protocol"),
        (b"HTTP/1.1 200 OK\r\n", "protocol"),
        (b'{"message":"x"}', "protocol"),
    ],
)
def test_what_cannot_be_a_frame_fails_at_its_beginning(stream: bytes, kind: str) -> None:
    """Lengths are judged before anything is held back for them."""
    with pytest.raises(UpstreamFailure) as caught:
        FrameBuffer().feed(stream)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05a",
        b"\x01a",
        b"\x01a\x0a",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05a",
        b"\x01a\x09a",
        b"\x01a\x04\x00",
        b"\x01\xff\x00",
        write_header("a", b"\xff"),
    ],
)
def test_headers_that_cannot_be_read_are_the_providers_fault(headers: bytes) -> None:
    """A frame whose checksums hold may still be nonsense; that is a failure of the provider, not a crash."""
    with pytest.raises(UpstreamFailure, match="headers"):
        FrameBuffer().feed(write_frame(b"{}", headers))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_frames_or_a_failure(data: bytes, framed: bool) -> None:
    """No bytes whatever crash the reader, within a valid frame or without."""
    with contextlib.suppress(UpstreamFailure):
        FrameBuffer().feed(write_frame(b"", data) if framed else data)
