"""Batches are read one request at a time, whatever the cut of their bytes."""

import json

import pytest

from app.batch.reading import LineSplitter, ObjectSplitter, UnfitRequestError, read_request
from app.batch.types import Item
from app.errors import BadRequestError

WHOLE = json.dumps(
    {
        "model": 'with "requests":[ in it \\',
        "nested": {"requests": [{"not": "these"}], "s": "}]"},
        "requests": [{"id": "a", "t": 'x"}]\\"{['}, {"id": "b", "deep": {"l": [1, [2]], "o": {}}}, {"id": "ü\n"}],
        "options": {"deadline": "6h", "list": [{}]},
    },
    ensure_ascii=False,
).encode()
EXPECTED = json.loads(WHOLE)


def split(data: bytes, size: int) -> tuple[list[bytes], bytes]:
    """Return the elements and the rest of an object that comes in pieces of `size` bytes."""
    splitter = ObjectSplitter(10_000)
    found = [one for start in range(0, len(data), size) for one in splitter.feed(data[start : start + size])]
    return found, splitter.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_requests_are_taken_out(size):
    """The elements of the top-level field `requests` come one by one, and the rest is the object without them."""
    found, rest = split(WHOLE, size)
    assert [json.loads(one) for one in found] == EXPECTED["requests"]
    assert json.loads(rest) == {**EXPECTED, "requests": []}


@pytest.mark.parametrize("cut", range(1, len(WHOLE), 5))
def test_what_ends_too_early_is_refused(cut):
    """An object that breaks off anywhere is no object."""
    with pytest.raises(BadRequestError):
        split(WHOLE[:cut], 16)


@pytest.mark.parametrize(
    "data",
    [
        b'{"requests": [1]}',
        b'{"requests": ["a"]}',
        b'{"requests": [{}, 1, {}]}',
        b'{"requests": [[]]}',
        b'{"requests": [{}], "requests": [{}]}',
        b'{"requests": [{}]}}',
        b"]",
        b'{"requests": [{"a": "' + b"x" * 20_000,
        b'{"other": "' + b"x" * 300_000 + b'"}',
    ],
)
def test_what_is_no_batch_is_refused(data):
    """Elements that are no objects, two lists, odd brackets and what is too large are 400s."""
    with pytest.raises(BadRequestError):
        split(data, 1000)


def test_what_stands_before_can_be_seen():
    """While the requests come, what was said before them can be read."""
    splitter = ObjectSplitter(1000)
    [_] = splitter.feed(b'{"provider": "p", "model": "m", "requests": [{"id": "a"}')
    assert json.loads(splitter.peek()) == {"provider": "p", "model": "m", "requests": []}


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_lines(size):
    """Lines come with their numbers, empty ones left out; the last one needs no end."""
    data = b"one\n\r\n  \ntwo\r\nthree"
    splitter = LineSplitter(100)
    found = [one for start in range(0, len(data), size) for one in splitter.feed(data[start : start + size])]
    found += splitter.close()
    assert [(number, line.strip()) for number, line in found] == [(1, b"one"), (4, b"two"), (5, b"three")]


def test_a_line_that_is_too_large():
    """A line over the limit is refused before it is whole."""
    with pytest.raises(UnfitRequestError, match="Line 1"):
        list(LineSplitter(10).feed(b"x" * 11))


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"a":  1}', b'{"a":  1}'),
        (b'{"stream": true, "a":  [1,  2]}', b'{"a":[1,  2]}'),
        (b'{"a":1,"stream_options":{"include_usage":true},"stream":false}', b'{"a":1}'),
        (b'{"text": "\\"stream\\": true"}', b'{"text": "\\"stream\\": true"}'),
        (b'{"stream"', b'{"stream"'),
    ],
)
def test_streams_are_left_out(body, kept):
    """A request in a batch has no stream; everything else of its body stays byte for byte."""
    assert read_request(Item(custom_id="a", path="/", body=body)).body == kept
