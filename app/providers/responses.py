"""OpenAI's Responses API: what a whole answer says, and reading its stream while it passes."""

import msgspec

from app.providers.exact_json import parse_typed
from app.providers.sse import EventBuffer, read_event, split_events
from app.providers.usage import read_openai_usage
from app.wire.usage import Facts

_ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_STATES = _ENDS | {"response.created", "response.queued", "response.in_progress"}


class _Action(msgspec.Struct):
    type: object = None


class _Item(msgspec.Struct):
    type: object = None
    action: _Action | None = None


class _Response(msgspec.Struct):
    status: object = None
    model: str | None = None
    output: list[_Item] | None = None
    usage: object = None
    service_tier: object = None
    error: object = None


class _Event(msgspec.Struct):
    type: object = None
    error: object = None


class _State(msgspec.Struct):
    response: _Response | None = None


_response_decoder = msgspec.json.Decoder(_Response)
_event_decoder = msgspec.json.Decoder(_Event)
_state_decoder = msgspec.json.Decoder(_State)


def read_facts(body: bytes) -> Facts:
    """Return what a whole response says; complete needs the status `completed` and no error."""
    response = parse_typed(_response_decoder, body)
    if response.output is None and not response.error:
        raise ValueError("no output")
    return _build_facts(response)


def _build_facts(response: _Response) -> Facts:
    return Facts(
        usage=read_openai_usage(
            response.usage, tier=response.service_tier, web_searches=_count_searches(response.output or [])
        ),
        model=response.model,
        complete=response.status == "completed" and response.output is not None and not response.error,
    )


def _count_searches(output: list[_Item]) -> int:
    """Count the searches that cost: opening a page or looking for words in it is none."""
    calls = (item for item in output if item.type == "web_search_call")
    return sum(call.action is None or call.action.type == "search" for call in calls)


class ResponsesTap:
    """The tap of a Responses stream: only events that carry the response object are decoded."""

    __slots__ = ("_broken", "_buffer", "_facts", "_type", "failed", "finished")

    def __init__(self, hide_usage: bool = False) -> None:  # noqa: ARG002 - usage is never hidden on this endpoint
        self.finished = False
        self.failed = False
        self._buffer = EventBuffer()
        self._facts = Facts()
        self._type = ""
        self._broken = False

    def feed(self, data: bytes) -> bytes:
        """Return the whole events that may go to the client now."""
        if self.finished:
            return b""
        whole = self._buffer.feed(data)
        if b'"response"' not in whole and b"error" not in whole:
            return whole
        end = 0
        for raw in split_events(whole):
            end += len(raw)
            self._see(raw)
            if self.finished:
                break
        return whole[:end]

    def facts(self) -> Facts:
        """Return what is known so far; complete needs `response.completed` and no error."""
        whole = self._type == "response.completed" and not self.failed and not self._broken
        return msgspec.structs.replace(self._facts, complete=whole and self._facts.complete)

    def _see(self, raw: bytes) -> None:
        name, data = read_event(raw)
        self.failed = self.failed or name == b"error"
        if b'"response"' not in data and b'"error"' not in data:
            return
        try:
            event = parse_typed(_event_decoder, data)
            kind = str(event.type)
            state = parse_typed(_state_decoder, data) if kind in _STATES else None
        except ValueError:
            self._broken = True
            return
        if event.error or kind in {"error", "response.failed"}:
            self.failed = True
        if state is not None:
            self._type = kind
            self._facts = _build_facts(state.response or _Response())
            self.finished = kind in _ENDS
