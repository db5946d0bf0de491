"""A call: the raw body and the few fields of it that the stages need."""

import msgspec

from app.access.types import Caller
from app.errors import BadRequestError
from app.gateway.options import Options, Sent
from app.gateway.paths import Route
from app.wire.http import Headers

USAGE_OPTION = b'{"include_usage":true}'


class Fields(msgspec.Struct, frozen=True):
    """What is read of a JSON body; everything else stays bytes."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = msgspec.Raw()
    background: bool | None = None
    prompt_cache_key: str | None = None
    conversation: msgspec.Raw = msgspec.Raw()


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call as it came. `query` is the raw query string; `hides_usage` says that the client did not ask for it."""

    route: Route
    method: str
    query: bytes
    headers: Headers
    sent: Sent
    options: Options
    caller: Caller
    body: bytes
    fields: Fields

    @property
    def streamed(self) -> bool:
        """Whether the client wants its answer as a stream, and the endpoint has any."""
        endpoint = self.route.endpoint
        return self.fields.stream is True and endpoint is not None and endpoint.open_tap is not None

    @property
    def stateful(self) -> bool:
        """Whether the call changes something at the provider, so that the same call later is not the same."""
        return self.fields.background is True or bytes(self.fields.conversation) not in {b"", b"null"}

    @property
    def hides_usage(self) -> bool:
        """Whether the client did not ask for the usage of its stream."""
        return not _includes_usage(self.fields.stream_options)


_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_stream_options = msgspec.json.Decoder(_StreamOptions | None).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def read_fields(body: bytes) -> Fields:
    """Return the fields of a JSON object. Raises BadRequestError naming what is wrong with the body."""
    try:
        fields = _decode_fields(body)
        _includes_usage(fields.stream_options)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"The body does not fit: {error}.", param=_field_of(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise BadRequestError("The body is nested too deeply.") from error
    return fields


def patch_body(body: bytes, *, model: str | None, ask_usage: bool) -> bytes:
    """Return the JSON object `body` with its model renamed, and with the stream's usage asked for.

    Nothing else changes: the values of all other fields are the bytes that came, in the order they came. Raises
    BadRequestError when the name of a field is no text.
    """
    try:
        fields = _decode_object(body)
        if model is not None:
            fields["model"] = msgspec.Raw(_encode(model))
        if ask_usage:
            fields["stream_options"] = msgspec.Raw(_ask_usage(fields.get("stream_options")))
    except ValueError as error:
        raise BadRequestError("The body is not valid JSON: the name of a field cannot be read.") from error
    return _encode(fields)


def _ask_usage(raw: msgspec.Raw | None) -> bytes:
    options = bytes(raw) if raw is not None else b"null"
    if options == b"null":
        return USAGE_OPTION
    return _encode({**_decode_object(options), "include_usage": msgspec.Raw(b"true")})


def _includes_usage(raw: msgspec.Raw) -> bool:
    if not bytes(raw):
        return False
    options = _decode_stream_options(raw)
    return options is not None and options.include_usage is True


def _field_of(error: msgspec.ValidationError) -> str | None:
    """Return the field that msgspec's message points to (`… - at `$.stream``)."""
    _, separator, path = str(error).rpartition("`$.")
    return path.rstrip("`") if separator else None
