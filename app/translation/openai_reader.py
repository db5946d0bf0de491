"""Reading a stream of chat completion chunks as canonical events."""

from app.errors import UpstreamFailure
from app.providers.exact_json import is_fields, parse_typed
from app.providers.sse import EventBuffer, read_event, split_events
from app.providers.usage import read_openai_usage
from app.translation import openai_shapes as shapes
from app.translation.openai_choice import ChoiceFeed
from app.wire.chat import End, Event, Failed, Start, Used

_DONE = b"[DONE]"
_KINDS = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "rate_limit_error": "rate_limit_error",
    "rate_limit_exceeded": "rate_limit_error",
    "insufficient_quota": "rate_limit_error",
    "tokens": "rate_limit_error",
    "requests": "rate_limit_error",
    "overloaded_error": "overloaded_error",
    "timeout_error": "timeout_error",
    "not_found_error": "not_found_error",
}


class OpenAIStreamReader:
    """Reads chunks until `[DONE]`. Without a finish reason of every choice that mark ends nothing."""

    __slots__ = ("_buffer", "_choices", "_failed", "_started", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._buffer = EventBuffer()
        self._choices: dict[int, ChoiceFeed] = {}
        self._started = False
        self._failed = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes; UpstreamFailure for what is no such stream."""
        events: list[Event] = []
        for raw in split_events(self._buffer.feed(data)):
            if self.finished or self._failed:
                break
            said = read_event(raw).data
            if said.startswith(_DONE):
                events += self._end()
            elif said:
                events += self._read(said)
        return events

    def _end(self) -> list[Event]:
        choices = self._choices.values()
        self.finished = bool(choices) and all(choice.finished for choice in choices)
        return [End()] if self.finished else []

    def _read(self, data: bytes) -> list[Event]:
        try:
            chunk = parse_typed(shapes.decoder, data)
            if chunk.error:
                return self._fail(_read_error(chunk.error))
            return self._read_chunk(chunk)
        except ValueError:
            raise UpstreamFailure("protocol", "The provider sent a chunk that cannot be read.", answered=True) from None

    def _fail(self, failed: Failed) -> list[Event]:
        self._failed = True
        return [failed]

    def _read_chunk(self, chunk: shapes.Answer) -> list[Event]:
        events: list[Event] = []
        choices = chunk.choices or []
        if not self._started and (choices or chunk.id):
            self._started = True
            events.append(_read_start(chunk))
        for choice in choices:
            if choice.finish_reason == shapes.BROKEN:
                return [*events, *self._fail(Failed(message="The provider broke off its answer."))]
            events += self._choices.setdefault(choice.index, ChoiceFeed(choice.index)).feed(choice)
        usage = read_openai_usage(chunk.usage, tier=chunk.service_tier)
        if usage is not None and self._started:
            events.append(Used(usage=usage))
        return events


def _read_start(chunk: shapes.Answer) -> Start:
    return Start(
        id=chunk.id or shapes.make_id("chatcmpl-"),
        model=chunk.model or "",
        created=shapes.read_created(chunk.created),
    )


def _read_error(error: object) -> Failed:
    """Return the failure that an error object, or whatever stands in its place, tells of."""
    if not is_fields(error):
        return Failed(message=error if isinstance(error, str) else "The provider reports an error.")
    message = error.get("message")
    words = (str(error.get(key)) for key in ("code", "type"))
    kind = next((_KINDS[word] for word in words if word in _KINDS), "api_error")
    return Failed(message=message if isinstance(message, str) else "The provider reports an error.", kind=kind)
