"""Canonical events as a Messages stream for a client: one block after the other, one ending."""

from app.errors import Dialect, RelayError, write_error_event
from app.providers.exact_json import Fields, write_exact
from app.providers.sse import write_event
from app.translation.anthropic_ids import write_id
from app.translation.anthropic_reply import open_message, write_reason, write_thinking, write_usage
from app.translation.anthropic_signatures import carry_signature
from app.wire.chat import (
    ChatCall,
    Delta,
    End,
    Event,
    Failed,
    Finish,
    Finished,
    PartEnd,
    PartStart,
    Refusal,
    Start,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage

_TEXT = ("text_delta", "text")
_THINKING = ("thinking_delta", "thinking")
_INPUT = ("input_json_delta", "partial_json")


class AnthropicWriter:
    """Writes the events of the first choice.

    Blocks of this dialect neither overlap nor skip a number: what comes for another part than the open one waits until
    that one is complete.
    """

    __slots__ = (
        "_delta", "_done", "_finish", "_model", "_next", "_open", "_refused", "_signature", "_stop", "_usage",
        "_waiting",
    )  # fmt: skip

    def __init__(self, call: ChatCall) -> None:
        self._model = call.model
        self._done = False
        self._next = 0
        self._open: int | None = None
        self._delta = _TEXT
        self._signature: str | None = None
        self._waiting: dict[int, list[PartStart | Delta | PartEnd]] = {}
        self._finish: Finish = "stop"
        self._stop: str | None = None
        self._refused = False
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        """Return the bytes of an event, maybe none."""
        if self._done:
            return b""
        if isinstance(event, PartStart | Delta | PartEnd):
            return self._write_part(event) if event.choice == 0 else b""
        if isinstance(event, Start):
            return self._write_start(event)
        if isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Finished):
            self._note_finish(event)
        elif isinstance(event, End):
            return self._write_end()
        else:
            return self._write_failed(event)
        return b""

    def fail(self, error: RelayError) -> bytes:
        """Return the bytes that end the stream with an error; none when it has ended already."""
        if self._done:
            return b""
        self._done = True
        return write_error_event(error, Dialect.ANTHROPIC)

    def _write_start(self, event: Start) -> bytes:
        self._usage = event.usage
        message = open_message(event.id, event.model or self._model)
        message["usage"] = write_usage(event.usage) | {"output_tokens": 0}
        return _write("message_start", {"message": message})

    def _note_finish(self, event: Finished) -> None:
        if event.choice == 0:
            self._finish = event.finish
            self._stop = event.stop_sequence

    def _write_part(self, event: PartStart | Delta | PartEnd) -> bytes:
        """Write an event of the open part, or keep it until its turn."""
        if isinstance(event, PartStart) and self._open is not None:
            self._waiting[event.index] = [event]
        elif isinstance(event, PartStart) or event.index == self._open:
            return self._pass(event) + self._release()
        elif event.index in self._waiting:
            self._waiting[event.index].append(event)
        return b""

    def _release(self) -> bytes:
        """Write the parts that waited, in order, as long as none is open."""
        written: list[bytes] = []
        while self._open is None and self._waiting:
            waited = self._waiting.pop(next(iter(self._waiting)))
            written += [self._pass(event) for event in waited]
        return b"".join(written)

    def _pass(self, event: PartStart | Delta | PartEnd) -> bytes:
        if isinstance(event, PartStart):
            return self._begin(event)
        if isinstance(event, PartEnd):
            return self._end_block()
        if self._delta is _THINKING:
            self._signature = event.signature or self._signature
        return self._add(event.text)

    def _begin(self, event: PartStart) -> bytes:
        self._open = event.index
        part = event.part
        if isinstance(part, ToolUse):
            return self._begin_call(part)
        if isinstance(part, Thinking):
            return self._begin_thinking(part)
        self._delta = _TEXT
        self._refused = self._refused or isinstance(part, Refusal)
        return self._begin_block({"type": "text", "text": ""}, part.text)

    def _begin_call(self, part: ToolUse) -> bytes:
        """Begin a tool call, behind a block of its own for its signature."""
        carried = carry_signature(part)
        before = b""
        if carried is not None:
            place, before = self._open, self._begin_thinking(carried) + self._end_block()
            self._open = place
        self._delta = _INPUT
        block: Fields = {"type": "tool_use", "id": write_id(part.id), "name": part.name, "input": {}}
        return before + self._begin_block(block, part.arguments)

    def _begin_thinking(self, part: Thinking) -> bytes:
        self._delta = _THINKING
        self._signature = part.signature
        block = write_thinking(part)
        if part.redacted is None:
            block |= {"thinking": "", "signature": ""}
        return self._begin_block(block, part.text)

    def _begin_block(self, block: Fields, text: str) -> bytes:
        return _write("content_block_start", {"index": self._next, "content_block": block}) + self._add(text)

    def _add(self, text: str) -> bytes:
        if not text:
            return b""
        kind, field = self._delta
        return _write("content_block_delta", {"index": self._next, "delta": {"type": kind, field: text}})

    def _end_block(self) -> bytes:
        """End the open block; a signature comes last, over the whole thought."""
        signature = b""
        if self._signature is not None:
            delta = {"type": "signature_delta", "signature": self._signature}
            signature = _write("content_block_delta", {"index": self._next, "delta": delta})
        stop = _write("content_block_stop", {"index": self._next})
        self._open = None
        self._signature = None
        self._next += 1
        return signature + stop

    def _write_end(self) -> bytes:
        written: list[bytes] = []
        while self._open is not None:
            written += (self._end_block(), self._release())
        self._done = True
        reason = write_reason(self._finish, refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": self._stop}
        written.append(_write("message_delta", {"delta": delta, "usage": write_usage(self._usage)}))
        written.append(_write("message_stop", {}))
        return b"".join(written)

    def _write_failed(self, event: Failed) -> bytes:
        self._done = True
        return _write("error", {"error": {"type": event.kind, "message": event.message}})


def _write(name: str, fields: Fields) -> bytes:
    return write_event(write_exact({"type": name, **fields}), name.encode())
