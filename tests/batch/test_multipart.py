"""Multipart forms, cut wherever a network may cut them."""

import pytest

from app.batch.vendors.multipart import (
    MAX_FORM_BYTES,
    Event,
    Field,
    FileBegins,
    FileData,
    FileEnds,
    FormReader,
    find_boundary,
    read_head,
)
from app.errors import BadRequestError, TooLargeError

PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\nContent-Type: text/x\r\n\r\n'


def build(*parts: bytes, before: bytes = b"", after: bytes = b"\r\n", boundary: bytes = b"b") -> bytes:
    """Return a form of these parts."""
    return before + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--" % boundary + after


def read(form: bytes, size: int, boundary: bytes = b"b") -> tuple[list[Event], FormReader]:
    """Return the events of a form that comes in pieces of this size, those of the file put together."""
    reader = FormReader(boundary)
    events: list[Event] = []
    for at in range(0, len(form), size):
        for event in reader.feed(form[at : at + size]):
            if isinstance(event, FileData) and events and isinstance(events[-1], FileData):
                events[-1] = FileData(events[-1].data + event.data)
            else:
                events.append(event)
    reader.close()
    return events, reader


CONTENTS = [
    b"",
    b"{}\n",
    b"\r\n",
    b"\r\n--",
    b"\r\n--a",
    b"--b",
    b"\n--b\n",
    b"\r\n--\r\n--b"[:-1],
    bytes(range(256)) * 3,
]
FORMS = [
    (build(PURPOSE, FILE + content), [Field("purpose", "batch"), FileBegins("a.jsonl"), content, FileEnds()], content)
    for content in CONTENTS
] + [
    (build(FILE + content, PURPOSE), [FileBegins("a.jsonl"), content, FileEnds(), Field("purpose", "batch")], content)
    for content in CONTENTS
]
FORMS += [
    (
        build(PURPOSE, FILE + b"x", before=b"preamble\r\n", after=b"\r\nepilogue"),
        [Field("purpose", "batch"), FileBegins("a.jsonl"), b"x", FileEnds()],
        b"x",
    ),
    (build(PURPOSE, after=b""), [Field("purpose", "batch")], None),
    (b"--b  \t\r\n" + PURPOSE + b"\r\n--b-- ", [Field("purpose", "batch")], None),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(("form", "expected", "content"), FORMS, ids=range(len(FORMS)))
def test_forms(form: bytes, expected: list[Event | bytes], content: bytes | None, size: int) -> None:
    """The same events come out wherever the form is cut, and what stands around the file makes it whole again."""
    events, reader = read(form, size)
    assert events == [FileData(one) if isinstance(one, bytes) else one for one in expected if one != b""]
    if content is None:
        assert reader.so_far == form
    else:
        assert reader.before + content + bytes(reader.after) == form


@pytest.mark.parametrize("form", [one[0] for one in FORMS], ids=range(len(FORMS)))
def test_every_cut(form: bytes) -> None:
    """A single cut at any byte changes nothing."""
    whole = read(form, len(form))[0]
    for at in range(len(form) + 1):
        reader = FormReader(b"b")
        events: list[Event] = []
        for piece in (form[:at], form[at:]):
            for event in reader.feed(piece):
                if isinstance(event, FileData) and events and isinstance(events[-1], FileData):
                    events[-1] = FileData(events[-1].data + event.data)
                else:
                    events.append(event)
        reader.close()
        assert events == whole, at


@pytest.mark.parametrize("form", [one[0] for one in FORMS[:2]])
def test_what_came_so_far(form: bytes) -> None:
    """Before the file begins, everything that came can be had once more."""
    reader = FormReader(b"b")
    for at in range(form.index(b"filename")):
        list(reader.feed(form[at : at + 1]))
        assert reader.so_far == form[: at + 1]


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"x",
        b"--b",
        b"--b\r\n",
        b"--b\r\n" + PURPOSE,
        build(PURPOSE)[:-4],
        b"--c\r\n" + PURPOSE + b"\r\n--c--",
        b"--b\r\n\r\nx\r\n--b--",
        b"--b\r\nx: y\r\n\r\nx\r\n--b--",
        b"--bc\r\n" + PURPOSE + b"\r\n--b--",
        b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--",
        build(FILE + b"x", FILE + b"y"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_form(form: bytes, size: int) -> None:
    """It is a 400, whatever is wrong with it."""
    with pytest.raises(BadRequestError):
        read(form, size)


def pour(reader: FormReader, count: int) -> int:
    """Feed so many thousand bytes, and return how many of them were the file's."""
    events = [event for _ in range(count) for event in reader.feed(b"x" * 1000)]
    return sum(len(event.data) for event in events if isinstance(event, FileData))


@pytest.mark.parametrize("head", [b"", b"--b\r\n", b"--b\r\n" + PURPOSE, build(FILE + b"x")])
def test_only_the_file_may_be_large(head: bytes) -> None:
    """Beside it nothing is held without a limit."""
    reader = FormReader(b"b")
    list(reader.feed(head))
    with pytest.raises(TooLargeError):
        pour(reader, 3 + MAX_FORM_BYTES // 1000)
    reader = FormReader(b"b")
    list(reader.feed(b"--b\r\n" + FILE))
    assert pour(reader, 2000) > 1_990_000


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; Boundary="a b;c"', b"a b;c"),
        (b"multipart/form-data;boundary=a'()+_,-./:=?", b"a'()+_"),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/json", None),
        (b"", None),
    ],
)
def test_boundaries(content_type: bytes, boundary: bytes | None) -> None:
    """The boundary is read as clients write it."""
    assert find_boundary(content_type) == boundary


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('form-data; name="file"; filename="a b.jsonl"', ("file", "a b.jsonl")),
        ("form-data; name=file; filename=a.jsonl", ("file", "a.jsonl")),
        ('form-data; filename="a%22b.txt"; name="file"', ("file", 'a"b.txt')),
        ('form-data; name="file"; filename="a\\"b;c.txt"', ("file", 'a"b;c.txt')),
        ('form-data; name="file"; filename="x"; filename*=UTF-8\'\'%e4%b8%ad.txt', ("file", "\u4e2d.txt")),
        ('form-data; name="file"; filename="\u00e9.txt"', ("file", "\u00e9.txt")),
        ('form-data; name="file"; filename=""', ("file", "file")),
        ('form-data; name="file"; filename="a\0b"', ("file", "ab")),
        ('form-data; name="expires_after[seconds]"', ("expires_after[seconds]", "file")),
        (f'form-data; name="file"; filename="{"x" * 1000}"', ("file", "x" * 255)),
    ],
)
def test_names(disposition: str, expected: tuple[str, str]) -> None:
    """Names are read as browsers and libraries write them."""
    assert read_head(f"Content-Disposition: {disposition}\r\n\r\n".encode()) == expected
