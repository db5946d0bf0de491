"""A provider's Messages stream, read into canonical events whatever the cut of its bytes."""

import time

import msgspec

from app.errors import UpstreamFailure
from app.providers.exact_json import Fields, is_fields, parse_typed
from app.providers.sse import EventBuffer, read_event, split_events
from app.providers.usage import read_anthropic_usage
from app.translation.anthropic_reply import Block, read_block, read_finish
from app.wire.chat import Delta, End, Event, Failed, Finished, PartEnd, PartStart, Start, ToolUse, Used


class _Message(msgspec.Struct, frozen=True):
    id: str = ""
    model: str = ""
    usage: object = None


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Error(msgspec.Struct, frozen=True):
    type: str = "api_error"
    message: str = "The provider reported an error."


class _Event(msgspec.Struct, frozen=True):
    type: str
    index: int = 0
    message: _Message = _Message()
    content_block: Block | None = None
    delta: _Delta = _Delta()
    usage: object = None
    error: _Error = _Error()


class _Open(msgspec.Struct):
    """A block that has begun: the part it is (None for a type without one) and a tool's input that came at once."""

    part: int | None
    input: str = ""


_decoder = msgspec.json.Decoder(_Event)


class AnthropicReader:
    """Reads a Messages stream. Blocks of unknown types are skipped, and the parts are counted without them."""

    __slots__ = ("_buffer", "_failed", "_open", "_parts", "_stopped", "_usage", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._failed = False
        self._buffer = EventBuffer()
        self._open: dict[int, _Open] = {}
        self._parts = 0
        self._stopped = False
        self._usage: Fields = {}

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. Raises UpstreamFailure for what is no Messages stream."""
        events: list[Event] = []
        for raw in split_events(self._buffer.feed(data)):
            payload = read_event(raw).data
            if payload and not self.finished and not self._failed:
                events += self._read(payload)
        return events

    def _read(self, payload: bytes) -> list[Event]:
        try:
            event = parse_typed(_decoder, payload)
        except ValueError:
            raise UpstreamFailure(
                "protocol", "The provider sent an event that is none of a Messages stream.", answered=True
            ) from None
        return self._handle(event)

    def _handle(self, event: _Event) -> list[Event]:
        if event.type.startswith("content_block_"):
            return self._handle_block(event)
        if event.type == "message_start":
            return self._start(event)
        if event.type == "message_delta":
            return self._finish(event)
        if event.type == "message_stop":
            return self._stop()
        return self._fail(event.error) if event.type == "error" else []

    def _handle_block(self, event: _Event) -> list[Event]:
        if event.type == "content_block_delta":
            return self._add(event)
        return self._start_block(event) if event.type == "content_block_start" else self._end_block(event.index)

    def _start(self, event: _Event) -> list[Event]:
        self._add_usage(event.message.usage)
        usage = read_anthropic_usage(self._usage)
        message = event.message
        return [Start(id=message.id, model=message.model, created=int(time.time()), usage=usage)]

    def _start_block(self, event: _Event) -> list[Event]:
        part = None if event.content_block is None else read_block(event.content_block)
        if part is None:
            self._open[event.index] = _Open(part=None)
            return []
        index, self._parts = self._parts, self._parts + 1
        self._open[event.index] = _Open(part=index)
        if isinstance(part, ToolUse):
            # Fragments take the place of what came at the start, and usually that is only {}.
            self._open[event.index].input = part.arguments
            part = msgspec.structs.replace(part, arguments="")
        return [PartStart(index=index, part=part)]

    def _add(self, event: _Event) -> list[Event]:
        block = self._open.get(event.index)
        if block is None:
            raise UpstreamFailure("protocol", "The provider sent a part of a block that is not open.", answered=True)
        if block.part is None:
            return []
        delta = event.delta
        text = delta.text or delta.thinking or delta.partial_json
        if delta.partial_json:
            block.input = ""
        return [Delta(index=block.part, text=text, signature=delta.signature)] if text or delta.signature else []

    def _end_block(self, index: int) -> list[Event]:
        block = self._open.pop(index, None)
        if block is None or block.part is None:
            return []
        rest: list[Event] = [Delta(index=block.part, text=block.input)] if block.input else []
        return [*rest, PartEnd(index=block.part)]

    def _finish(self, event: _Event) -> list[Event]:
        self._add_usage(event.usage)
        usage = read_anthropic_usage(self._usage)
        used: list[Event] = [] if usage is None else [Used(usage=usage)]
        if event.delta.stop_reason is None:
            return used
        self._stopped = True
        finish = read_finish(event.delta.stop_reason)
        return [*self._end_open(), Finished(finish=finish, stop_sequence=event.delta.stop_sequence), *used]

    def _stop(self) -> list[Event]:
        self.finished = True
        finish: list[Event] = [] if self._stopped else [Finished(finish="stop")]
        return [*self._end_open(), *finish, End()]

    def _fail(self, error: _Error) -> list[Event]:
        self._failed = True
        return [Failed(message=error.message, kind=error.type)]

    def _end_open(self) -> list[Event]:
        return [end for index in tuple(self._open) for end in self._end_block(index)]

    def _add_usage(self, usage: object) -> None:
        """Add counts; those of a later event are totals, so they replace what came before."""
        if is_fields(usage):
            self._usage.update({key: value for key, value in usage.items() if value is not None})
