"""Files of requests as `relaycore batch submit` sends them: line by line, never held whole."""

import itertools
import json
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import click

STDIN = "-"
BOM = b"\xef\xbb\xbf"
PIECE_BYTES = 64 * 1024
NEITHER = "line {number}: neither a line of OpenAI's ('custom_id', 'url', 'body') nor one of ours ('id', 'messages')."
MISSING = "line {number}: '{field}' is missing."
NO_JSON = "line {number}: not JSON: {why}."
NO_OBJECT = "line {number}: not a JSON object."
EMPTY = "There are no requests in it."

Kind = Literal["openai", "own"]
FIELDS: dict[Kind, tuple[str, ...]] = {"openai": ("custom_id", "url", "body"), "own": ("id", "messages")}


class Lines(NamedTuple):
    """What is in a file of requests; `first` is its first one, and `rest` yields all of them, checked."""

    kind: Kind
    first: dict[str, Any]
    rest: Iterator[bytes]


@contextmanager
def open_lines(name: str) -> Generator[Lines]:
    """Open a file of requests ("-" is standard input); ClickException naming the line for what is none."""
    if name == STDIN:
        yield read_lines(sys.stdin.buffer, "standard input")
        return
    try:
        with Path(name).open("rb") as file:
            yield read_lines(file, name)
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}.") from error


def read_lines(file: Iterable[bytes], name: str) -> Lines:
    """Return what is in a file."""
    numbered = ((number, line.removeprefix(BOM).strip()) for number, line in enumerate(file, 1))
    filled = ((number, line) for number, line in numbered if line)
    start = next(filled, None)
    if start is None:
        raise click.ClickException(f"{name}: {EMPTY}")
    first = read_object(*start, name)
    kind = find_kind(first)
    if kind is None:
        raise click.ClickException(f"{name}, {NEITHER.format(number=start[0])}")
    return Lines(kind, first, check_lines(itertools.chain([start], filled), kind, name))


def find_kind(line: dict[str, Any]) -> Kind | None:
    """Return whose line it is."""
    return next((kind for kind, fields in FIELDS.items() if all(field in line for field in fields)), None)


def check_lines(numbered: Iterator[tuple[int, bytes]], kind: Kind, name: str) -> Iterator[bytes]:
    """Yield lines that are requests of one kind."""
    for number, line in numbered:
        said = read_object(number, line, name)
        missing = next((field for field in FIELDS[kind] if field not in said), None)
        if missing is not None:
            raise click.ClickException(f"{name}, {MISSING.format(number=number, field=missing)}")
        yield line


def read_object(number: int, line: bytes, name: str) -> dict[str, Any]:
    """Return a line as an object."""
    try:
        said: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise click.ClickException(f"{name}, {NO_JSON.format(number=number, why=why)}") from error
    if not isinstance(said, dict):
        raise click.ClickException(f"{name}, {NO_OBJECT.format(number=number)}")
    return cast(dict[str, Any], said)


def write_own(lines: Iterator[bytes], head: dict[str, Any]) -> Iterator[bytes]:
    """Yield the body of a batch in our own words; `head` is what it says beside its requests."""
    yield from gather(_list_own(lines, head))


def _list_own(lines: Iterator[bytes], head: dict[str, Any]) -> Iterator[bytes]:
    before = json.dumps(head).encode()[:-1] + b',"requests":['
    for line in lines:
        yield before + line
        before = b","
    yield b"]}"


def write_upload(lines: Iterator[bytes], boundary: str) -> Iterator[bytes]:
    """Yield the body of a form that uploads a file of requests."""
    start = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="requests.jsonl"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    ).encode()
    ended = (line + b"\n" for line in lines)
    yield from gather(itertools.chain([start], ended, [f"\r\n--{boundary}--\r\n".encode()]))


def gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield small pieces together."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
