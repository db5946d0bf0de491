"""Batches are read one request at a time, whatever the cut of their bytes."""

import asyncio
import gzip
import json
import zlib

import msgspec
import pytest

from app.batch.arriving import TURN_BYTES, take_turns, unpack
from app.batch.reading import (
    LineSplitter,
    ObjectSplitter,
    OpenAILine,
    RelayRequest,
    UnfitRequestError,
    read_request,
    read_struct,
)
from app.batch.types import Item
from app.errors import BadRequestError, TooLargeError

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


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_cut_anywhere_changes_nothing(cut):
    """Wherever the body is cut in two, the same comes of it."""
    splitter = ObjectSplitter(10_000)
    found = [one for part in (WHOLE[:cut], WHOLE[cut:]) for one in splitter.feed(part)]
    assert (found, splitter.close()) == split(WHOLE, len(WHOLE))


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
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


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    "inside",
    ["{} {}", "{}{}", "{},,{}", ",{}", "{},", "{} , , {}", "{};{}", "{}:{}", "{},1", "{},]", "{}}", "null", "{},[]"],
)
def test_between_requests_stands_one_comma(inside, size):
    """No comma, two of them, one at either end and anything else between two requests are 400s."""
    with pytest.raises(BadRequestError):
        split(b'{"requests": [%b]}' % inside.encode(), size)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_white_space_between_requests(size):
    """White space may stand wherever JSON has it."""
    assert split(b' {"requests" : [ {} , {"a": 1}\n,\t{}\r\n ] } ', size) == (
        [b"{}", b'{"a": 1}', b"{}"],
        b' {"requests" : [] } ',
    )


@pytest.mark.parametrize("name", ['x\\"requests', "requests ", "my requests", "Requests"])
def test_only_the_field_of_that_name_has_the_requests(name):
    """A list in a field whose name only looks like it stays where it is."""
    data = b'{"%b": [{}], "requests": [{"a": 1}]}' % name.encode()
    assert split(data, 5) == ([b'{"a": 1}'], data.replace(b'{"a": 1}', b""))


def test_the_field_may_be_the_first_after_other_lists():
    """Lists before the requests are no requests."""
    assert split(b'{"a":[],"b":[{}],"requests":[{}]}', 4) == ([b"{}"], b'{"a":[],"b":[{}],"requests":[]}')


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("before", [b'{"x": ', b'{"requests": [{"x": '])
def test_how_deep_a_body_may_be(before, size):
    """64 levels are read, from the body's own on; the 65th is a 400, as lists and as objects, empty or not."""
    after = b"}" if before.count(b"{") == 1 else b"}]}"
    room = 64 - before.count(b"{") - before.count(b"[")
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        split(before + opening * (room - 1) + b"[1]" + closing * (room - 1) + after, size)
        for last in (b"[]", b"{}", b'{"a": "b"}'):
            with pytest.raises(BadRequestError, match="deeper than 64"):
                split(before + opening * room + last + closing * room + after, size)


@pytest.mark.parametrize("size", [1, 100, 5000, 100_000])
def test_how_large_a_request_may_be(size):
    """The limit is the same however the body is cut."""
    fits = b'{"a": "%b"}' % (b"x" * 9_991)
    assert split(b'{"requests": [%b]}' % fits, size)[0] == [fits]
    with pytest.raises(UnfitRequestError, match="larger than 10000 bytes"):
        split(b'{"requests": [%b, {}]}' % fits.replace(b"a", b"aa"), size)


GOOD = b'{"id": "a", "messages": [{"a": 1, "b": [1, 1]}], "parameters": {"x": {"messages": 1}, "y": 1, "id": 1}}'


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b'{"id": "a", "id": "b", "messages": []}', None),
        (b'{"id": "a", "id": "a", "messages": []}', None),
        (b'{"id": "a", "messages": [], "messages": []}', None),
        (b'{"id": "a", "messages": [], "messages": [1]}', None),
        (b'{"messages": [1], "id": "a", "messages": [1]}', None),
        (b'{"id": "a", "messages": 1, "messages": 12}', None),
        (b'{"id": "a", "messages": 12, "messages": 1}', None),
        (b'{"id": "a", "messages": [], "m\\u0065ssages": []}', None),
        (b'{"id": "a", "messages": [], "parameters": {"n": 1, "n": 2}}', "parameters"),
        (b'{"id": "a", "messages": [], "parameters": {"n": {}, "m": 1, "n": {}}}', "parameters"),
        (b'{"id": "a", "messages": [], "parameters": {}, "parameters": {}}', None),
    ],
)
def test_no_field_occurs_twice(data, param):
    """Of two fields of one name nobody knows which was meant: the request is refused, equal or not."""
    with pytest.raises(UnfitRequestError, match="occurs twice") as refused:
        read_struct(msgspec.json.Decoder(RelayRequest), data, "")
    assert refused.value.param == param


@pytest.mark.parametrize("data", [GOOD, b" \n" + GOOD.replace(b", ", b"\t,\r\n").replace(b":", b" :") + b" "])
def test_white_space_is_no_repetition(data):
    """What is as it should be is read, with any white space."""
    assert read_struct(msgspec.json.Decoder(RelayRequest), data, "").id == "a"


def test_an_empty_object_repeats_nothing():
    """An object without fields has none twice."""
    assert read_struct(msgspec.json.Decoder(dict), b" { } ", "") == {}


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("place", [b'"a"', b'"b"', b'"c"', b'"custom_id"'])
def test_all_of_a_request_is_utf8(bad, place):
    """Bytes that are no UTF-8 are a 400 wherever they stand, be it where nobody else looks."""
    data = b'{"custom_id": "a", "url": "/", "body": {"b": "c"}}'.replace(place, b'"%b"' % bad)
    with pytest.raises(UnfitRequestError, match="not valid JSON"):
        read_struct(msgspec.json.Decoder(OpenAILine), data, "")


def arrive(data: bytes, size: int, encoding: bytes = b"", limit: int = 10**6) -> list[bytes]:
    """Return the pieces that come of a body that comes in pieces of `size` bytes."""

    async def send():
        for start in range(0, len(data), size):
            yield data[start : start + size]

    async def take():
        return [part async for part in take_turns(unpack(send(), encoding, limit))]

    return asyncio.run(take())


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [(b"gzip", gzip.compress), (b" X-GZIP", gzip.compress), (b"deflate", zlib.compress), (b"identity", bytes)],
)
def test_bodies_are_unpacked(encoding, pack, size):
    """What is packed comes as it was, in pieces that are small."""
    parts = arrive(pack(WHOLE * 50), size, encoding)
    assert b"".join(parts) == WHOLE * 50
    assert max(map(len, parts)) <= TURN_BYTES


PACKED = gzip.compress(WHOLE)


@pytest.mark.parametrize("cut", range(len(PACKED)))
def test_a_packed_body_that_ends_too_early(cut):
    """A packed body that breaks off anywhere is a 400, be it behind all of its content."""
    with pytest.raises(BadRequestError):
        arrive(PACKED[:cut], 16, b"gzip")


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (PACKED + b"x", b"gzip"),
        (PACKED + PACKED, b"gzip"),
        (WHOLE, b"gzip"),
        (PACKED[:-8] + b"\0" * 8, b"gzip"),
        (WHOLE, b"br"),
        (PACKED, b"gzip, gzip"),
    ],
)
def test_what_is_not_packed_as_it_says(data, encoding, size):
    """Bytes behind the end, a wrong sum, no such packing at all and packings that are not read are 400s."""
    with pytest.raises(BadRequestError):
        arrive(data, size, encoding)


def test_a_packed_body_that_grows_too_large():
    """The limit is one of what is unpacked, to the byte."""
    assert len(b"".join(arrive(gzip.compress(b"x" * 10**6), 64, b"gzip"))) == 10**6
    with pytest.raises(TooLargeError):
        arrive(gzip.compress(b"x" * (10**6 + 1)), 64, b"gzip")


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
    with pytest.raises(UnfitRequestError, match="Line 2"):
        list(LineSplitter(10).feed(b"\n" + b"x" * 11 + b"\n"))


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
