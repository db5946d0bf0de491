"""A whole Responses answer as a stream, and the stored stream as a whole answer."""

from collections.abc import Callable

import msgspec

from app.providers.exact_json import Fields, get_items, parse_exact, parse_typed, write_exact
from app.providers.sse import read_event, split_events, write_event

_END_EVENTS = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}


class _Event(msgspec.Struct):
    type: object = None
    response: msgspec.Raw = msgspec.Raw()
    error: object = None


_decoder = msgspec.json.Decoder(_Event)


class _Writer:
    """Numbers the events of one stream and writes them."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def add(self, kind: str, fields: Fields) -> None:
        event: Fields = {"type": kind, "sequence_number": len(self.events)}
        self.events.append(write_event(write_exact(event | fields), kind.encode()))


def write_stream(body: bytes, usage: bool) -> bytes:  # noqa: ARG001 - this endpoint always tells the usage
    """Return the stream of a whole response; ValueError when it has not come to its end."""
    response = parse_exact(body)
    end = _END_EVENTS.get(str(response.get("status")))
    if end is None:
        raise ValueError("the response has not ended")
    writer = _Writer()
    begun: Fields = {**response, "status": "in_progress", "output": [], "usage": None}
    for kind in ("response.created", "response.in_progress"):
        writer.add(kind, {"response": begun})
    for position, item in enumerate(get_items(response, "output")):
        _add_item(writer, position, item)
    writer.add(end, {"response": response})
    return b"".join(writer.events)


def _add_item(writer: _Writer, position: int, item: Fields) -> None:
    start, fill = _ITEMS.get(str(item.get("type")), (_start_whole, _fill_nothing))
    writer.add("response.output_item.added", {"output_index": position, "item": start(item)})
    fill(writer, {"item_id": item.get("id") or "", "output_index": position}, item)
    writer.add("response.output_item.done", {"output_index": position, "item": item})


def _start_whole(item: Fields) -> Fields:
    return item


def _fill_nothing(writer: _Writer, place: Fields, item: Fields) -> None:
    """Add nothing: an item of a type we do not know has no events between its first and its last."""


def _start_message(item: Fields) -> Fields:
    return {**item, "status": "in_progress", "content": []}


def _fill_message(writer: _Writer, place: Fields, item: Fields) -> None:
    for position, part in enumerate(get_items(item, "content")):
        _add_part(writer, place | {"content_index": position}, part)


def _add_part(writer: _Writer, place: Fields, part: Fields) -> None:
    kind = part.get("type")
    start: Fields = part
    if kind == "output_text":
        start = {**part, "text": "", **{key: [] for key in ("annotations", "logprobs") if part.get(key)}}
    elif kind == "refusal":
        start = part | {"refusal": ""}
    writer.add("response.content_part.added", place | {"part": start})
    if kind == "output_text":
        _add_text(writer, place, part)
    elif kind == "refusal":
        writer.add("response.refusal.delta", place | {"delta": part.get("refusal")})
        writer.add("response.refusal.done", place | {"refusal": part.get("refusal")})
    writer.add("response.content_part.done", place | {"part": part})


def _add_text(writer: _Writer, place: Fields, part: Fields) -> None:
    text, logprobs = part.get("text"), get_items(part, "logprobs")
    writer.add("response.output_text.delta", place | {"delta": text, "logprobs": logprobs})
    for position, annotation in enumerate(get_items(part, "annotations")):
        writer.add(
            "response.output_text.annotation.added",
            place | {"annotation_index": position, "annotation": annotation},
        )
    writer.add("response.output_text.done", place | {"text": text, "logprobs": logprobs})


def _start_function_call(item: Fields) -> Fields:
    return item | {"status": "in_progress", "arguments": ""}


def _fill_function_call(writer: _Writer, place: Fields, item: Fields) -> None:
    arguments = item.get("arguments")
    writer.add("response.function_call_arguments.delta", place | {"delta": arguments})
    writer.add("response.function_call_arguments.done", place | {"name": item.get("name"), "arguments": arguments})


def _start_reasoning(item: Fields) -> Fields:
    return {**item, **{key: [] for key in ("summary", "content") if item.get(key)}}


def _fill_reasoning(writer: _Writer, place: Fields, item: Fields) -> None:
    for position, part in enumerate(get_items(item, "summary")):
        here = place | {"summary_index": position}
        writer.add("response.reasoning_summary_part.added", here | {"part": part | {"text": ""}})
        writer.add("response.reasoning_summary_text.delta", here | {"delta": part.get("text")})
        writer.add("response.reasoning_summary_text.done", here | {"text": part.get("text")})
        writer.add("response.reasoning_summary_part.done", here | {"part": part})
    for position, part in enumerate(get_items(item, "content")):
        here = place | {"content_index": position}
        writer.add("response.content_part.added", here | {"part": part | {"text": ""}})
        writer.add("response.reasoning_text.delta", here | {"delta": part.get("text")})
        writer.add("response.reasoning_text.done", here | {"text": part.get("text")})
        writer.add("response.content_part.done", here | {"part": part})


_ITEMS: dict[str, tuple[Callable[[Fields], Fields], Callable[[_Writer, Fields, Fields], None]]] = {
    "message": (_start_message, _fill_message),
    "function_call": (_start_function_call, _fill_function_call),
    "reasoning": (_start_reasoning, _fill_reasoning),
}


def write_whole(events: bytes) -> bytes:
    """Return the response that the stream ended with, byte for byte; ValueError when it was not completed."""
    for raw in split_events(events):
        data = read_event(raw).data
        if b'"response.completed"' not in data:
            continue
        event = parse_typed(_decoder, data)
        if event.type == "response.completed" and not event.error and event.response:
            return bytes(event.response)
    raise ValueError("the stream has no completed response")
