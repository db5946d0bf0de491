"""Anthropic's Messages API as Bedrock carries it: a body of its own, and its events in frames."""

from collections.abc import Sequence

import msgspec

from app.errors import BadRequestError, UpstreamFailure
from app.providers.exact_json import parse_typed, write_exact
from app.providers.sse import write_event
from app.translation.anthropic_reader import AnthropicReader
from app.translation.bedrock_frames import Frame, FrameBuffer
from app.translation.bedrock_reply import find_failure
from app.wire.chat import Event, Failed

VERSION = "bedrock-2023-05-31"
_NOT_IN_BODY = {"model", "stream"}


class _Chunk(msgspec.Struct):
    bytes: bytes


class _Kind(msgspec.Struct):
    type: str


_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_betas_decoder = msgspec.json.Decoder(list[str])
_chunk_decoder = msgspec.json.Decoder(_Chunk)
_kind_decoder = msgspec.json.Decoder(_Kind)


def build_invoke_body(body: bytes, betas: Sequence[str] = ()) -> bytes:
    """Return a Messages body as Bedrock takes it; every value that stays is the bytes it was.

    `betas` are those of the client's `anthropic-beta` header lines.
    """
    try:
        fields = parse_typed(_fields_decoder, body)
        named = parse_typed(_betas_decoder, bytes(fields.pop("anthropic_beta", b"[]")))
    except ValueError:
        raise BadRequestError("The body is not a JSON object that can be read.") from None
    kept: dict[str, object] = {key: value for key, value in fields.items() if key not in _NOT_IN_BODY}
    kept.setdefault("anthropic_version", VERSION)
    if named or betas:
        kept["anthropic_beta"] = list(dict.fromkeys([*named, *betas]))
    return write_exact(kept)


def split_betas(lines: Sequence[bytes]) -> list[str]:
    """Return the betas that the values of `anthropic-beta` header lines name."""
    words = [word.strip().decode("latin-1") for line in lines for word in line.split(b",")]
    return [word for word in words if word]


class InvokeEvents:
    """Turns the frames of a streamed answer into the server-sent events that Anthropic itself would send."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = FrameBuffer()

    def feed(self, data: bytes) -> bytes:
        """Return the events that `data` completes; an event's data is the provider's bytes."""
        return b"".join(map(_write_frame, self._buffer.feed(data)))


def _write_frame(frame: Frame) -> bytes:
    failure = find_failure(frame)
    if failure is not None:
        return _write_failure(failure)
    if frame.find(":event-type") != "chunk":
        return b""
    try:
        data = parse_typed(_chunk_decoder, frame.payload).bytes
        kind = parse_typed(_kind_decoder, data).type
    except ValueError:
        raise UpstreamFailure("protocol", "The provider sent an event that cannot be read.", answered=True) from None
    if not kind.isidentifier():
        return b""
    return write_event(b"".join(data.splitlines()), kind.encode())


def _write_failure(failure: Failed) -> bytes:
    error = {"type": "error", "error": {"type": failure.kind, "message": failure.message}}
    return write_event(write_exact(error), b"error")


class InvokeReader:
    """Reads one streamed answer as canonical events."""

    __slots__ = ("_events", "_reader")

    def __init__(self) -> None:
        self._events = InvokeEvents()
        self._reader = AnthropicReader()

    @property
    def finished(self) -> bool:
        """Whether the end marker has come."""
        return self._reader.finished

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
        return self._reader.feed(self._events.feed(data))
