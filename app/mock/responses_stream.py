"""OpenAI's responses as the full sequence of numbered events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from app.mock.text import split_pieces

Event = tuple[str, dict[str, Any]]


def write_events(start: dict[str, Any], final: dict[str, Any], chunk_chars: int) -> Iterator[bytes]:
    """Yield every event from `response.created` to the one that ends the response."""
    for number, (kind, fields) in enumerate(_list_events(start, final, chunk_chars)):
        yield write_event(kind, {"type": kind, "sequence_number": number, **fields})


def write_event(kind: str, fields: dict[str, Any]) -> bytes:
    """Return one event of the stream."""
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"


def write_error(number: int) -> bytes:
    """Return the event that ends a stream with a failure."""
    fields = {"code": "server_error", "message": "The mock broke this stream.", "param": None}
    return write_event("error", {"type": "error", "sequence_number": number, **fields})


def _list_events(start: dict[str, Any], final: dict[str, Any], chunk_chars: int) -> Iterator[Event]:
    yield "response.created", {"response": start}
    yield "response.in_progress", {"response": start}
    for index, item in enumerate(final["output"]):
        place = {"output_index": index}
        yield "response.output_item.added", {**place, "item": _open_item(item)}
        inner = {**place, "item_id": item["id"]}
        match item["type"]:
            case "message":
                yield from _list_text(item, inner, chunk_chars)
            case "function_call":
                yield from _list_arguments(item, inner, chunk_chars)
            case _:
                yield from _list_summary(item, inner, chunk_chars)
        yield "response.output_item.done", {**place, "item": item}
    yield f"response.{final['status']}", {"response": final}


def _open_item(item: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "reasoning": {"summary": []},
    }
    status = {} if item["type"] == "reasoning" else {"status": "in_progress"}
    return {**item, **status, **empty[item["type"]]}


def _list_text(item: dict[str, Any], inner: dict[str, Any], chunk_chars: int) -> Iterator[Event]:
    place = {**inner, "content_index": 0}
    part = item["content"][0]
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for piece in split_pieces(part["text"], chunk_chars):
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}


def _list_arguments(item: dict[str, Any], inner: dict[str, Any], chunk_chars: int) -> Iterator[Event]:
    for piece in split_pieces(item["arguments"], chunk_chars):
        yield "response.function_call_arguments.delta", {**inner, "delta": piece}
    done = {**inner, "name": item["name"], "arguments": item["arguments"]}
    yield "response.function_call_arguments.done", done


def _list_summary(item: dict[str, Any], inner: dict[str, Any], chunk_chars: int) -> Iterator[Event]:
    for index, part in enumerate(item["summary"]):
        place = {**inner, "summary_index": index}
        yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
        for piece in split_pieces(part["text"], chunk_chars):
            yield "response.reasoning_summary_text.delta", {**place, "delta": piece}
        yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**place, "part": part}
