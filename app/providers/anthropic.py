"""Anthropic's Messages API: what a whole answer says, and reading its stream while it passes."""

import msgspec

from app.providers.exact_json import Fields, is_fields, parse_typed
from app.providers.sse import EventBuffer, read_event, split_events
from app.providers.usage import read_anthropic_usage, read_count
from app.wire.usage import Facts


class _Skipped(msgspec.Struct):
    pass


class _Message(msgspec.Struct):
    model: str | None = None
    content: list[_Skipped] | None = None
    stop_reason: object = None
    usage: object = None
    error: object = None


class _Delta(msgspec.Struct):
    stop_reason: object = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    delta: _Delta | None = None
    usage: object = None


class _Count(msgspec.Struct):
    input_tokens: object = None
    error: object = None


_message_decoder = msgspec.json.Decoder(_Message)
_event_decoder = msgspec.json.Decoder(_Event)
_count_decoder = msgspec.json.Decoder(_Count)


def read_facts(body: bytes) -> Facts:
    """Return what a whole message says; complete needs a stop reason (`max_tokens` is one) and no error."""
    message = parse_typed(_message_decoder, body)
    if message.content is None and not message.error:
        raise ValueError("no content")
    return Facts(
        usage=read_anthropic_usage(message.usage),
        model=message.model,
        complete=message.content is not None and bool(message.stop_reason) and not message.error,
    )


def read_count_facts(body: bytes) -> Facts:
    """Return what a token count says: that it is whole. Counting is free, so there is no usage."""
    count = parse_typed(_count_decoder, body)
    if read_count(count.input_tokens) is None and not count.error:
        raise ValueError("no input_tokens")
    return Facts(complete=not count.error)


class AnthropicTap:
    """The tap of a Messages stream: only `message_start` and `message_delta` are decoded.

    Clients go by the `event:` line, so an event without one counts for nothing.
    """

    __slots__ = ("_broken", "_buffer", "_model", "_started", "_stopped", "_usage", "failed", "finished")

    def __init__(self, hide_usage: bool = False) -> None:  # noqa: ARG002 - usage is never hidden in this dialect
        self.finished = False
        self.failed = False
        self._buffer = EventBuffer()
        self._model: str | None = None
        self._usage: Fields = {}
        self._started = False
        self._stopped = False
        self._broken = False

    def feed(self, data: bytes) -> bytes:
        """Return the whole events that may go to the client now."""
        if self.finished:
            return b""
        whole = self._buffer.feed(data)
        if b"message_" not in whole and b"error" not in whole:
            return whole
        end = 0
        for raw in split_events(whole):
            end += len(raw)
            self._see(raw)
            if self.finished:
                break
        return whole[:end]

    def facts(self) -> Facts:
        """Return what is known so far, of an interrupted stream as well."""
        whole = self.finished and self._started and self._stopped
        return Facts(
            usage=read_anthropic_usage(self._usage),
            model=self._model,
            complete=whole and not self.failed and not self._broken,
        )

    def _see(self, raw: bytes) -> None:
        name, data = read_event(raw)
        if name == b"message_stop":
            self.finished = True
        elif name == b"error":
            self.failed = True
        elif name in {b"message_start", b"message_delta"}:
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            event = parse_typed(_event_decoder, data)
        except ValueError:
            self._broken = True
            return
        if event.message is not None:
            self._started = True
            self._model = event.message.model
            self._add_usage(event.message.usage)
        if event.delta is not None and event.delta.stop_reason:
            self._stopped = True
        self._add_usage(event.usage)

    def _add_usage(self, usage: object) -> None:
        """Add counts; those of a later event are totals, so they replace what came before."""
        if is_fields(usage):
            self._usage.update({key: value for key, value in usage.items() if value is not None})
