"""Gemini's stream as canonical events: server-sent events that each hold a piece of the answer."""

import time

from app.errors import UpstreamFailure
from app.providers.exact_json import Fields, get_index, get_items, is_fields
from app.providers.sse import EventBuffer, read_event, split_events
from app.translation.answers import read_answer
from app.translation.gemini_reply import (
    Pieces,
    find_breakage,
    is_blocked,
    make_id,
    read_error,
    read_finish,
    read_model,
    read_usage,
)
from app.wire.chat import End, Event, Failed, Finish, Finished, Start, Used
from app.wire.usage import Usage


class GeminiReader:
    """Reads one stream. It has no end marker of its own: it is whole when its answer has a reason for its end."""

    __slots__ = ("_buffer", "_pieces", "_usage", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._buffer = EventBuffer()
        self._pieces: Pieces | None = None
        self._usage: Usage | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
        events: list[Event] = []
        for raw in split_events(self._buffer.feed(data)):
            if self.finished:
                break
            payload = read_event(raw).data
            if payload:
                events += self._read(payload)
        return events

    def _read(self, payload: bytes) -> list[Event]:
        try:
            return self._read_piece(read_answer(payload))
        except ValueError:
            raise UpstreamFailure(
                "protocol", "The provider sent an event that cannot be read.", answered=True
            ) from None

    def _read_piece(self, fields: Fields) -> list[Event]:
        error = fields.get("error")
        if is_fields(error):
            return [read_error(error)]
        self._usage = read_usage(fields.get("usageMetadata")) or self._usage
        events: list[Event] = []
        if self._pieces is None:
            name = make_id(fields)
            self._pieces = Pieces(f"{name}/0")
            events.append(self._build_start(name, fields))
        first: list[Fields] = [item for item in get_items(fields, "candidates") if get_index(item) == 0]
        for candidate in first:
            events += self._read_candidate(self._pieces, candidate)
        if not first and is_blocked(fields):
            events += self._finish("content_filter")
        return events

    def _build_start(self, name: str, fields: Fields) -> Start:
        known = self._usage
        if known is not None:
            known = known.without_output()
        return Start(id=name, model=read_model(fields), created=int(time.time()), usage=known)

    def _read_candidate(self, pieces: Pieces, candidate: Fields) -> list[Event]:
        events = pieces.add(candidate)
        reason = candidate.get("finishReason")
        if not isinstance(reason, str):
            return events
        events += pieces.parts.end()
        broken = find_breakage(reason)
        if broken is not None:
            return [*events, Failed(message=broken)]
        return events + self._finish(read_finish(reason, called=pieces.called))

    def _finish(self, finish: Finish) -> list[Event]:
        self.finished = True
        used: list[Event] = [Used(usage=self._usage)] if self._usage is not None else []
        return [Finished(finish=finish), *used, End()]
