"""The stream of Bedrock's Converse API as canonical events."""

import time

from app.errors import UpstreamFailure
from app.providers.exact_json import Fields, get_fields, is_fields
from app.providers.usage import read_tier
from app.translation.answers import PartFeed, need_text, read_answer
from app.translation.bedrock_frames import Frame, FrameBuffer
from app.translation.bedrock_reply import (
    find_breakage,
    find_failure,
    make_id,
    read_finish,
    read_stop_sequence,
    read_usage,
    read_use,
)
from app.wire.chat import End, Event, Failed, Finished, Start, Thinking, Used


class ConverseReader:
    """Reads one stream; it is whole with its metadata, which come after the reason for the answer's end."""

    __slots__ = ("_buffer", "_parts", "_stopped", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._buffer = FrameBuffer()
        self._parts = PartFeed()
        self._stopped = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
        events: list[Event] = []
        for frame in self._buffer.feed(data):
            if self.finished:
                break
            events += self._read(frame)
        return events

    def _read(self, frame: Frame) -> list[Event]:
        failure = find_failure(frame)
        if failure is not None:
            return [failure]
        try:
            return self._read_event(frame.find(":event-type"), read_answer(frame.payload))
        except ValueError:
            raise UpstreamFailure(
                "protocol", "The provider sent an event that cannot be read.", answered=True
            ) from None

    def _read_event(self, name: str, fields: Fields) -> list[Event]:
        if name == "messageStart":
            return [Start(id=make_id(), model="", created=int(time.time()))]
        if name == "contentBlockStart":
            use = get_fields(fields, "start").get("toolUse")
            return self._parts.start_use(read_use(use, "")) if is_fields(use) else []
        if name == "contentBlockDelta":
            return self._read_delta(get_fields(fields, "delta"))
        if name == "contentBlockStop":
            return self._parts.end()
        if name == "messageStop":
            return self._read_stop(fields)
        return self._read_metadata(fields) if name == "metadata" else []

    def _read_delta(self, delta: Fields) -> list[Event]:
        text, reasoning = delta.get("text"), delta.get("reasoningContent")
        if isinstance(text, str):
            return self._parts.add_text(text)
        arguments = get_fields(delta, "toolUse").get("input")
        if isinstance(arguments, str):
            return self._parts.add_arguments(arguments)
        return self._read_reasoning(reasoning) if is_fields(reasoning) else []

    def _read_reasoning(self, reasoning: Fields) -> list[Event]:
        text, signature = reasoning.get("text"), read_tier(reasoning.get("signature"))
        if isinstance(text, str):
            return self._parts.add_thinking(text)
        if signature is not None:
            return self._parts.sign(signature)
        redacted = read_tier(reasoning.get("redactedContent"))
        return self._parts.add_part(Thinking(redacted=redacted)) if redacted is not None else []

    def _read_stop(self, fields: Fields) -> list[Event]:
        reason = need_text(fields, "stopReason")
        broken = find_breakage(reason)
        if broken is not None:
            return [Failed(message=broken)]
        self._stopped = True
        finished = Finished(finish=read_finish(reason), stop_sequence=read_stop_sequence(fields))
        return [*self._parts.end(), finished]

    def _read_metadata(self, fields: Fields) -> list[Event]:
        if not self._stopped:
            raise ValueError("metadata before the end of the answer")
        self.finished = True
        usage = read_usage(fields.get("usage"))
        used: list[Event] = [Used(usage=usage)] if usage is not None else []
        return [*used, End()]
