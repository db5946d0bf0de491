"""Bodies as they are kept: packed where it is worth it, and the same when they come back."""

import json
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.cache.packing import PLAIN, WORTH_BYTES, ZSTD, pack, unpack

PIECES = st.binary(min_size=1, max_size=64)
TEXT = json.dumps({"content": "What goes up must come down, said the gateway. " * 100}).encode()
NOISE = random.Random(1).randbytes(3 * WORTH_BYTES)


@given(PIECES, st.integers(0, 400), PIECES)
def test_what_is_packed_comes_back(start, times, end):
    """Any body comes back as it was, whatever its size is, and never takes more room than before."""
    body = start * times + end
    encoding, kept = pack(body)
    assert unpack(encoding, kept, len(body)) == body
    assert len(kept) <= len(body)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", PLAIN),
        (b"x" * (WORTH_BYTES - 1), PLAIN),
        (b"x" * WORTH_BYTES, ZSTD),
        (TEXT, ZSTD),
        (NOISE, PLAIN),
        (NOISE[:WORTH_BYTES] + b"x" * 100, PLAIN),
        (NOISE[:WORTH_BYTES] + b"x" * 400, ZSTD),
    ],
    ids=["nothing", "too small", "just enough", "an answer", "noise", "saves little", "saves a tenth"],
)
def test_what_is_worth_packing(body, encoding):
    """Small bodies, and such that packing saves less than a tenth of, stay as they are."""
    found, kept = pack(body)
    assert found == encoding
    assert kept == body if encoding == PLAIN else len(kept) < len(body) * 0.9


def test_answers_get_much_smaller():
    """Plain text repeats itself: it is kept in a fraction of its size."""
    assert len(pack(TEXT)[1]) < len(TEXT) / 10


@pytest.mark.parametrize("encoding", [-1, 2, 255])
def test_unknown_encodings(encoding):
    """What a later version may have kept is an error and no answer."""
    with pytest.raises(ValueError, match=str(encoding)):
        unpack(encoding, b"x", 1)


@pytest.mark.parametrize(
    "kept",
    [b"", b"plain", pack(TEXT)[1][:-5], pack(TEXT)[1][:3], b"\0" + pack(TEXT)[1]],
    ids=["nothing", "not packed", "cut off", "only a beginning", "shifted"],
)
def test_damaged_bodies(kept):
    """Bytes that are no packed body are an error and no answer."""
    with pytest.raises(ValueError, match=r"."):
        unpack(ZSTD, kept, len(TEXT))


def test_frames_without_their_size():
    """A frame that does not tell its size is read up to the one that is known, and is an error beyond it."""
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    assert unpack(ZSTD, frame, len(TEXT)) == TEXT
    with pytest.raises(ValueError, match=r"."):
        unpack(ZSTD, frame, len(TEXT) - 1)
