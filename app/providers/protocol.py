"""What an endpoint of a dialect is: a value with pure functions, no client inside."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from app.errors import Dialect, RelayError
from app.wire.chat import ChatCall, ChatReply, Event
from app.wire.usage import Facts


class StreamTap(Protocol):
    """Reads a stream of its own dialect while it passes, and holds back what is not yet a whole event.

    `feed` takes the bytes of one read in any cut and returns the whole events that may go to the client now (maybe
    none). A partial event at the end of a broken stream is never forwarded. `finished` is True once the dialect's end
    marker has passed, `failed` once an error event has. An event over the line cap raises `UpstreamFailure`.
    """

    @property
    def finished(self) -> bool:
        """Whether the dialect's end marker has passed."""
        ...

    @property
    def failed(self) -> bool:
        """Whether an error event has passed."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Return the whole events that may go to the client now."""
        ...

    def facts(self) -> Facts:
        """Return what is known so far."""
        ...


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model endpoint that we can read: its path at the provider and what its answers mean.

    `path` is relative to the provider's base URL of that dialect ("/chat/completions", "/v1/messages").
    `read_facts(body)` raises ValueError for bytes that are no whole answer of this endpoint.
    `open_tap(hide_usage)`: `hide_usage` removes the usage-only chunk that the client did not ask for.
    `write_stream(body, usage)` turns a stored whole answer into the SSE bytes of the same answer;
    `write_whole(events)` the stored SSE bytes of a complete stream (usage included) into the whole answer;
    `hide_usage(events)` removes from stored SSE bytes what a client that did not ask for usage must not see.
    """

    name: str
    dialect: Dialect
    path: str
    cacheable: bool
    read_facts: Callable[[bytes], Facts]
    open_tap: Callable[[bool], StreamTap] | None = None
    write_stream: Callable[[bytes, bool], bytes] | None = None
    write_whole: Callable[[bytes], bytes] | None = None
    hide_usage: Callable[[bytes], bytes] | None = None


class StreamReader(Protocol):
    """Reads a provider's stream into canonical events, whatever the cut of its bytes."""

    @property
    def finished(self) -> bool:
        """Whether the end marker has come."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes; UpstreamFailure for what is no such stream."""
        ...


class StreamWriter(Protocol):
    """Writes canonical events as a stream of a client's dialect: one writer per stream, exactly one ending."""

    def write(self, event: Event) -> bytes:
        """Return the bytes of an event, maybe none."""
        ...

    def fail(self, error: RelayError) -> bytes:
        """Return the bytes that end the stream with an error."""
        ...


class ClientDialect(msgspec.Struct, frozen=True, kw_only=True):
    """How clients of an endpoint speak. `read_call` raises BadRequestError naming the field that does not fit."""

    read_call: Callable[[bytes], ChatCall]
    write_reply: Callable[[ChatReply, ChatCall], bytes]
    open_writer: Callable[[ChatCall], StreamWriter]


class ProviderDialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's chat endpoint is spoken to.

    `path(model, stream)` is relative to the base URL. `build_chat` raises BadRequestError naming the client's field
    that this provider has no words for. `parse_chat` raises ValueError for bytes that are no whole answer.
    """

    path: Callable[[str, bool], str]
    build_chat: Callable[[ChatCall], bytes]
    parse_chat: Callable[[bytes], ChatReply]
    open_reader: Callable[[], StreamReader]
