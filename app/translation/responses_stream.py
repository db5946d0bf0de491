"""Canonical events as a stream of OpenAI's Responses API.

Items come strictly one after the other: what a provider sends of a second part while the first is open waits. A stream
that fails ends with an `error` event, the one OpenAI's SDKs raise on, and, once it has begun, with `response.failed`.
"""

import time

from app.errors import BadGatewayError, RelayError
from app.providers.exact_json import Fields, write_exact
from app.providers.sse import write_event
from app.translation.responses_items import Notice
from app.translation.responses_output import Output
from app.translation.responses_reply import Head, build_end, build_head, build_response, find_status
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
    Start,
    Used,
)
from app.wire.usage import Usage

_PartEvent = PartStart | Delta | PartEnd
_ERROR_CODES = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}


class ResponsesWriter:
    """Writes one stream; after its end nothing more is written."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._head: Head | None = None
        self._output = Output("")
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._open: int | None = None
        self._waiting: dict[int, list[_PartEvent]] = {}
        self._count = 0
        self._ended = False

    def write(self, event: Event) -> bytes:
        """Return the bytes of an event, maybe none."""
        if self._ended:
            return b""
        match event:
            case Start():
                self._usage = event.usage
                written = self._begin(build_head(event.id, event.model, event.created))
            case PartStart() | Delta() | PartEnd():
                written = self._write_part(event)
            case Finished():
                written = self._finish_choice(event)
            case Used():
                self._usage, written = event.usage, b""
            case End():
                written = self._end()
            case Failed():
                written = self.fail(_as_error(event))
        return written

    def fail(self, error: RelayError) -> bytes:
        """Return the bytes that end the stream with an error; the item that is open is not among its output."""
        if self._ended:
            return b""
        self._ended = True
        told: Fields = {"code": error.code, "message": error.message, "param": error.param}
        raised = told | {"error": told | {"type": error.openai_type}}
        notices: list[Notice] = [("error", raised)]
        if self._head is not None:
            code = _ERROR_CODES.get(error.openai_type, "server_error")
            why: Fields = {"code": code, "message": error.message}
            failed = build_response(self._call, self._head, "failed", output=self._output.items, error=why)
            notices.append(("response.failed", {"response": failed}))
        return self._number(notices)

    def _begin(self, head: Head) -> bytes:
        self._head = head
        self._output = Output(head.stem)
        begun: Fields = {"response": build_response(self._call, head, "in_progress")}
        return self._number([("response.created", begun), ("response.in_progress", begun)])

    def _need_head(self) -> tuple[bytes, Head]:
        """Return the head, made up when the provider has not said one."""
        if self._head is not None:
            return b"", self._head
        head = build_head("", self._call.model, int(time.time()))
        return self._begin(head), head

    def _write_part(self, event: _PartEvent) -> bytes:
        if event.choice or self._finish is not None:
            return b""
        begun, _ = self._need_head()
        if event.index in self._waiting:
            self._waiting[event.index].append(event)
            return begun
        return begun + self._number(self._take(event) + self._take_waiting())

    def _take(self, event: _PartEvent) -> list[Notice]:
        match event:
            case PartStart():
                return self._start(event)
            case Delta():
                return self._output.grow(event) if event.index == self._open else []
            case PartEnd():
                return self._end_part() if event.index == self._open else []

    def _start(self, event: PartStart) -> list[Notice]:
        if self._open is not None:
            self._waiting[event.index] = [event]
            return []
        self._open = event.index
        return self._output.start(event.part)

    def _end_part(self) -> list[Notice]:
        self._open = None
        return self._output.end()

    def _take_waiting(self) -> list[Notice]:
        """Return the events of the parts that waited, as far as they have come."""
        notices: list[Notice] = []
        while self._open is None and self._waiting:
            for event in self._waiting.pop(next(iter(self._waiting))):
                notices += self._take(event)
        return notices

    def _finish_choice(self, event: Finished) -> bytes:
        if event.choice or self._finish is not None:
            return b""
        begun, _ = self._need_head()
        notices: list[Notice] = []
        while self._open is not None:
            notices += self._end_part() + self._take_waiting()
        self._finish = event.finish
        status, _ = find_status(event.finish, refused=self._output.refused)
        return begun + self._number(notices + self._output.finish(status))

    def _end(self) -> bytes:
        finished = self._finish_choice(Finished(finish="stop"))
        _, head = self._need_head()
        self._ended = True
        response = build_end(self._call, head, self._finish or "stop", self._output, self._usage, None)
        return finished + self._number([(f"response.{response['status']}", {"response": response})])

    def _number(self, notices: list[Notice]) -> bytes:
        written: list[bytes] = []
        for kind, fields in notices:
            event: Fields = {"type": kind, "sequence_number": self._count}
            written.append(write_event(write_exact(event | fields), kind.encode()))
            self._count += 1
        return b"".join(written)


def _as_error(event: Failed) -> RelayError:
    error = BadGatewayError(event.message)
    error.openai_type = event.kind
    return error
